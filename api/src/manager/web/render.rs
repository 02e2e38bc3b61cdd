//! Answers as text, XML and HTML.

use std::fmt::Write as _;

use super::super::request::Request;

/// In which form an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Raw,
    Xml,
    Html,
}

impl Form {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Raw => "text/plain",
            Self::Xml => "text/xml",
            Self::Html => "text/html",
        }
    }

    /// The body of the answer.
    pub(super) fn render(self, text: &str, request: &Request) -> String {
        match self {
            Self::Raw => text.to_owned(),
            Self::Xml => xml(text, request),
            Self::Html => html(text),
        }
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '&' => escaped.push_str("&amp;"),
            // XML has no place for other control characters.
            c if c.is_control() && c != '\n' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The name of an attribute.
fn attribute(name: &str) -> String {
    let mut text: String = name
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
            _ => '_',
        })
        .collect();
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) {
        text.insert(0, '_');
    }
    text
}

/// Names and values of a block; a line without a colon begins what is only text.
fn lines(block: &str) -> Vec<(&str, String)> {
    let mut lines: Vec<(&str, String)> = Vec::new();
    let mut opaque = false;
    for line in block.split("\r\n").filter(|line| !line.is_empty()) {
        match line.split_once(':') {
            Some((name, value)) if !opaque => {
                lines.push((name, value.strip_prefix(' ').unwrap_or(value).to_owned()));
            }
            _ if opaque => {
                if let Some((_, text)) = lines.last_mut() {
                    text.push('\n');
                    text.push_str(line);
                }
            }
            _ => {
                opaque = true;
                lines.push(("Opaque-data", line.to_owned()));
            }
        }
    }
    lines
}

fn blocks(text: &str) -> impl Iterator<Item = Vec<(&str, String)>> {
    let blocks = text.split("\r\n\r\n").map(lines);
    blocks.filter(|lines| !lines.is_empty())
}

fn xml(text: &str, request: &Request) -> String {
    let id = request.given("ajaxdest").unwrap_or("unknown");
    let element = request
        .given("ajaxobjtype")
        .map_or_else(|| "generic".to_owned(), attribute);
    let mut xml = String::from("<ajax-response>\n");
    for block in blocks(text) {
        let _ = write!(
            xml,
            "<response type='object' id='{}'><{element}",
            escaped(id)
        );
        let mut seen: Vec<(String, usize)> = Vec::new();
        for (name, value) in block {
            let name = attribute(name);
            let count = match seen.iter_mut().find(|(known, _)| *known == name) {
                Some((_, count)) => {
                    *count += 1;
                    *count
                }
                None => {
                    seen.push((name.clone(), 1));
                    1
                }
            };
            let _ = match count {
                1 => write!(xml, " {name}='{}'", escaped(&value)),
                count => write!(xml, " {name}-{count}='{}'", escaped(&value)),
            };
        }
        xml.push_str(" /></response>\n");
    }
    xml.push_str("</ajax-response>\n");
    xml
}

fn html(text: &str) -> String {
    let mut html = String::from(
        "<title>Asterisk&trade; Manager Interface</title><body bgcolor=\"#ffffff\"><table align=center bgcolor=\"#f1f1f1\" width=\"500\">\r\n\
         <tr><td colspan=\"2\" bgcolor=\"#f1f1ff\"><h1>Manager Tester</h1></td></tr>\r\n\
         <tr><td colspan=\"2\" bgcolor=\"#f1f1ff\"><form action=\"\" method=\"post\">\n\
         Action: <input name=\"action\"> Cmd: <input name=\"command\"><br>\n\
         user <input name=\"username\"> pass <input type=\"password\" name=\"secret\"><br>\n\
         <input type=\"submit\"></form></td></tr>\r\n",
    );
    for block in blocks(text) {
        for (name, value) in block {
            let _ = write!(
                html,
                "<tr><td>{}</td><td>{}</td></tr>\r\n",
                escaped(name),
                escaped(&value)
            );
        }
        html.push_str("<tr><td colspan=\"2\"><hr></td></tr>\r\n");
    }
    html.push_str("</table></body>\r\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Response: Success\r\nMessage: Authentication accepted\r\n\r\n";

    #[test]
    fn xml_is_as_documented() {
        assert_eq!(
            Form::Xml.render(TEXT, &Request::default()),
            "<ajax-response>\n<response type='object' id='unknown'><generic response='Success' message='Authentication accepted' /></response>\n</ajax-response>\n"
        );
        let request = Request::new(vec![
            ("ajaxdest".to_owned(), "a'b".to_owned()),
            ("ajaxobjtype".to_owned(), "Thing><".to_owned()),
        ]);
        assert_eq!(
            Form::Xml.render("1-A: x\r\nOutput: <1>\r\nOutput: 2&\r\n\r\n", &request),
            "<ajax-response>\n<response type='object' id='a&apos;b'><thing__ _1_a='x' output='&lt;1&gt;' output-2='2&amp;' /></response>\n</ajax-response>\n"
        );
    }

    #[test]
    fn what_has_no_colon_is_opaque() {
        let xml = Form::Xml.render(
            "Response: Follows\r\nplain\r\nmore: text\r\n\r\n",
            &Request::default(),
        );
        assert!(
            xml.contains("response='Follows' opaque_data='plain\nmore: text' />"),
            "{xml}"
        );
    }

    #[test]
    fn html_is_a_table_and_raw_is_the_text() {
        let html = Form::Html.render("A: <b>\r\n\r\n", &Request::default());
        assert!(html.contains(
            "<tr><td>A</td><td>&lt;b&gt;</td></tr>\r\n<tr><td colspan=\"2\"><hr></td></tr>"
        ));
        assert_eq!(Form::Raw.render(TEXT, &Request::default()), TEXT);
    }
}
