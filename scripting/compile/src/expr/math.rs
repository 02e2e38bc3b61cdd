//! Mathematical functions that expressions have built in.

use super::number::Number;

/// The value of the built-in function `name`; `None` when it is not one of them, an error text when the number of arguments is
/// wrong.
pub(super) fn builtin(name: &str, arguments: &[Number]) -> Option<Result<Number, &'static str>> {
    let one = |function: fn(Number) -> Number| match arguments {
        [argument] => Ok(function(*argument)),
        _ => Err("takes one argument"),
    };
    let two = |function: fn(Number, Number) -> Number| match arguments {
        [first, second] => Ok(function(*first, *second)),
        _ => Err("takes two arguments"),
    };
    Some(match name {
        "COS" => one(|x| x.to_f64().cos().into()),
        "SIN" => one(|x| x.to_f64().sin().into()),
        "TAN" => one(|x| x.to_f64().tan().into()),
        "ACOS" => one(|x| x.to_f64().acos().into()),
        "ASIN" => one(|x| x.to_f64().asin().into()),
        "ATAN" => one(|x| x.to_f64().atan().into()),
        "ATAN2" => two(|y, x| y.to_f64().atan2(x.to_f64()).into()),
        "POW" => two(Number::power),
        "SQRT" => one(Number::square_root),
        "EXP" => one(|x| x.to_f64().exp().into()),
        "EXP2" => one(|x| Number::from(2.0).power(x)),
        "EXP10" => one(|x| Number::from(10.0).power(x)),
        "LOG" => one(|x| x.to_f64().ln().into()),
        "LOG2" => one(|x| x.to_f64().log2().into()),
        "LOG10" => one(|x| x.to_f64().log10().into()),
        "REMAINDER" => two(|x, y| x.subtract(y.multiply(x.divide(y).round_to_even()))),
        "MOD" => two(Number::remainder),
        "FLOOR" => one(Number::floor),
        "CEIL" => one(Number::ceil),
        "ROUND" => one(Number::round),
        "RINT" => one(Number::round_to_even),
        "TRUNC" => one(Number::truncate),
        "ABS" => one(Number::abs),
        _ => return None,
    })
}

/// Is `name` a function that expressions have built in?
pub(super) fn is_builtin(name: &str) -> bool {
    builtin(name, &[]).is_some()
}
