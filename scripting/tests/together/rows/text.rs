//! Texts of the second reading: substitution, expressions on whole numbers and quoted texts, truth, patterns.

/// Replaces `${...}` and `$[...]`, inner ones first.
pub(crate) fn substitute(text: &str, get: &dyn Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let (open, close) = match rest.as_bytes().get(at + 1) {
            Some(b'{') => (b'{', b'}'),
            Some(b'[') => (b'[', b']'),
            _ => {
                out.push('$');
                rest = &rest[at + 1..];
                continue;
            }
        };
        let inside = &rest[at + 2..];
        let mut depth = 1;
        let end = inside
            .bytes()
            .position(|byte| {
                depth += i32::from(byte == open) - i32::from(byte == close);
                depth == 0
            })
            .expect("what is written is balanced");
        let value = substitute(&inside[..end], get);
        if open == b'[' {
            out.push_str(&compute(&value));
        } else {
            out.push_str(&read(&value, get));
        }
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    out
}

/// The inside of `${}`.
fn read(inside: &str, get: &dyn Fn(&str) -> String) -> String {
    let (value, cut) = match inside.split_once('(') {
        Some((name, rest)) => {
            let end = rest.rfind(')').expect("a bracket is closed");
            let value = match name {
                "LEN" => rest[..end].len().to_string(),
                "IF" => choose(&rest[..end]).to_owned(),
                "TOUPPER" => rest[..end].to_uppercase(),
                "ISNULL" => i32::from(rest[..end].is_empty()).to_string(),
                other => panic!("the interpreter does not know {other}"),
            };
            (value, rest[end + 1..].trim_start_matches(':'))
        }
        None => match inside.split_once(':') {
            Some((name, cut)) => (get(name), cut),
            None => (get(inside), ""),
        },
    };
    if cut.is_empty() {
        return value;
    }
    let (offset, length) = cut.split_once(':').unwrap_or((cut, ""));
    let size = value.len() as i64;
    let offset: i64 = offset.parse().expect("an offset");
    let start = if offset < 0 {
        (size + offset).max(0)
    } else {
        offset.min(size)
    };
    let end = match length.parse::<i64>() {
        Err(_) => size,
        Ok(length) if length < 0 => (size + length).max(start),
        Ok(length) => (start + length).min(size),
    };
    value[start as usize..end as usize].to_owned()
}

#[derive(Clone, Debug)]
enum Value {
    Number(i64),
    Text(String),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    fn is_empty_or_zero(&self) -> bool {
        match self {
            Self::Number(number) => *number == 0,
            Self::Text(text) => text.is_empty(),
        }
    }
}

/// What cannot be read, because a variable left a hole, is 0.
fn compute(text: &str) -> String {
    let tokens = tokens(text);
    let mut at = 0;
    match binary(&tokens, &mut at, 0) {
        _ if tokens.is_empty() => String::new(),
        Some(value) if at == tokens.len() => value.text(),
        _ => "0".to_owned(),
    }
}

fn tokens(text: &str) -> Vec<String> {
    let mut list = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' {
            rest[1..].find('"').expect("a quote is closed") + 2
        } else if first.is_ascii_digit() {
            rest.find(|char: char| !char.is_ascii_digit())
                .unwrap_or(rest.len())
        } else if ["!=", ">=", "<="].iter().any(|two| rest.starts_with(two)) {
            2
        } else {
            1
        };
        list.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    list
}

const LEVELS: [&[&str]; 5] = [
    &["|"],
    &["&"],
    &["=", "!=", "<", ">", "<=", ">="],
    &["+", "-"],
    &["*", "%"],
];

fn binary(tokens: &[String], at: &mut usize, level: usize) -> Option<Value> {
    let Some(operators) = LEVELS.get(level) else {
        return unary(tokens, at);
    };
    let mut left = binary(tokens, at, level + 1)?;
    while let Some(operator) = tokens
        .get(*at)
        .filter(|token| operators.contains(&&***token))
    {
        *at += 1;
        let right = binary(tokens, at, level + 1)?;
        left = apply(operator, left, right);
    }
    Some(left)
}

fn unary(tokens: &[String], at: &mut usize) -> Option<Value> {
    let token = tokens.get(*at)?;
    *at += 1;
    Some(match token.as_str() {
        "-" => match unary(tokens, at)? {
            Value::Number(number) => Value::Number(-number),
            Value::Text(text) => panic!("-{text} is not written"),
        },
        "(" => {
            let value = binary(tokens, at, 0)?;
            if tokens.get(*at).map(String::as_str) != Some(")") {
                return None;
            }
            *at += 1;
            value
        }
        quoted if quoted.starts_with('"') => Value::Text(quoted.to_owned()),
        number => Value::Number(number.parse().ok()?),
    })
}

fn apply(operator: &str, left: Value, right: Value) -> Value {
    let flag = |holds| Value::Number(i64::from(holds));
    match operator {
        "|" if left.is_empty_or_zero() => return right,
        "|" => return left,
        "&" if left.is_empty_or_zero() || right.is_empty_or_zero() => return Value::Number(0),
        "&" => return left,
        _ => {}
    }
    if let (Value::Number(left), Value::Number(right)) = (&left, &right) {
        return match operator {
            "+" => Value::Number(left + right),
            "-" => Value::Number(left - right),
            "*" => Value::Number(left * right),
            "%" if *right == 0 => Value::Number(0),
            "%" => Value::Number(left % right),
            "=" => flag(left == right),
            "!=" => flag(left != right),
            "<" => flag(left < right),
            ">" => flag(left > right),
            "<=" => flag(left <= right),
            _ => flag(left >= right),
        };
    }
    let (left, right) = (left.text(), right.text());
    match operator {
        "=" => flag(left == right),
        "!=" => flag(left != right),
        "<" => flag(left < right),
        ">" => flag(left > right),
        "<=" => flag(left <= right),
        ">=" => flag(left >= right),
        other => panic!("{left} {other} {right} is not written"),
    }
}

/// Empty is false, a leading integer is true unless 0, other text is true.
pub(crate) fn is_true(text: &str) -> bool {
    let text = text.trim();
    let digits = text.trim_start_matches('-');
    let end = digits
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(digits.len());
    match digits[..end].parse::<i64>() {
        Ok(number) => number != 0,
        Err(_) => !text.is_empty(),
    }
}

/// What stands behind `condition?yes:no` for this condition.
pub(crate) fn choose(text: &str) -> &str {
    let (condition, branches) = text.split_once('?').unwrap_or((text, ""));
    let (yes, no) = branches.split_once(':').unwrap_or((branches, ""));
    if is_true(condition) { yes } else { no }
}

/// Members of one place of a pattern.
fn members(pattern: &str) -> Vec<Vec<u8>> {
    let mut list = Vec::new();
    let mut bytes = pattern.bytes().peekable();
    while let Some(byte) = bytes.next() {
        list.push(match byte {
            b'X' => (b'0'..=b'9').collect(),
            b'Z' => (b'1'..=b'9').collect(),
            b'N' => (b'2'..=b'9').collect(),
            b'[' => {
                let inside: Vec<u8> = bytes.by_ref().take_while(|byte| *byte != b']').collect();
                match inside[..] {
                    [from, b'-', to] => (from..=to).collect(),
                    _ => inside,
                }
            }
            other => vec![other],
        });
    }
    list
}

/// Does a name or pattern match these digits?
pub(crate) fn matches(exten: &str, dialled: &str) -> bool {
    let Some(pattern) = exten.strip_prefix('_') else {
        return exten == dialled;
    };
    let (pattern, least, more) = if let Some(pattern) = pattern.strip_suffix('.') {
        (pattern, 1, true)
    } else if let Some(pattern) = pattern.strip_suffix('!') {
        (pattern, 0, true)
    } else {
        (pattern, 0, false)
    };
    let members = members(pattern);
    let fits = dialled
        .bytes()
        .zip(&members)
        .all(|(byte, members)| members.contains(&byte));
    let length = dialled.len();
    fits && if more {
        length >= members.len() + least
    } else {
        length == members.len()
    }
}

/// Where an extension stands among those of its context: names, then the most specific pattern.
pub(crate) fn rank(exten: &str) -> Vec<u32> {
    let Some(pattern) = exten.strip_prefix('_') else {
        return Vec::new();
    };
    let mut keys: Vec<u32> = members(pattern.trim_end_matches(['.', '!']))
        .iter()
        .map(|members| {
            let smallest = members.iter().min().copied().unwrap_or_default();
            (members.len() as u32) << 8 | u32::from(smallest)
        })
        .collect();
    keys.push(match pattern.as_bytes().last() {
        Some(b'.') => 0x18000,
        Some(b'!') => 0x28000,
        _ => 0x30000,
    });
    keys
}
