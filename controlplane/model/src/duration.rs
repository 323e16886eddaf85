//! Durations as the three places that have them write them.

use std::time::Duration;

/// A duration of one whole number and a unit: `10s`, `500ms`, `1d`, or a bare `0`. Used by annotations
/// of Linkerd.
///
/// # Errors
/// Anything else, with what is wrong.
pub fn annotation(text: &str) -> Result<Duration, &'static str> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "a whole number and ms, s, m, h or d")?;
    let millis = match unit {
        "" if number == 0 => 0,
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("a whole number and ms, s, m, h or d"),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or("too long")
}

/// A duration of the Gateway API: up to four parts of up to five digits in h, m, s, ms (GEP-2257).
///
/// # Errors
/// Anything else, with what is wrong.
pub fn gateway(text: &str) -> Result<Duration, &'static str> {
    const SHAPE: &str = "up to four parts such as 1h, 30m, 10s, 500ms";
    let mut rest = text;
    let mut total = Duration::ZERO;
    for part in 0.. {
        if rest.is_empty() && part > 0 {
            return Ok(total);
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if part == 4 || digits == 0 || digits > 5 {
            break;
        }
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| SHAPE)?;
        let (millis, after) = match after {
            _ if after.starts_with("ms") => (number, after.get(2..)),
            _ if after.starts_with('h') => (number * 3_600_000, after.get(1..)),
            _ if after.starts_with('m') => (number * 60_000, after.get(1..)),
            _ if after.starts_with('s') => (number * 1_000, after.get(1..)),
            _ => break,
        };
        total += Duration::from_millis(millis);
        rest = after.unwrap_or_default();
    }
    Err(SHAPE)
}

/// A duration of Go's `time.ParseDuration`, which ServiceProfiles use: `1m30s`, `1.5s`, `300ms`.
///
/// # Errors
/// Anything else, and negative ones, with what is wrong.
pub fn go(text: &str) -> Result<Duration, &'static str> {
    const SHAPE: &str = "parts such as 1h, 1.5s, 300ms";
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("μs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    if text.starts_with('-') {
        return Err("not a negative one");
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(SHAPE);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(SHAPE)?;
        let (number, after) = rest.split_at(end);
        let number: f64 = match number {
            "" | "." => return Err(SHAPE),
            number => number.parse().map_err(|_| SHAPE)?,
        };
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale = UNITS.iter().find(|(name, _)| *name == unit).ok_or(SHAPE)?.1;
        seconds += number * scale;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| "too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(duration: Result<Duration, &'static str>) -> Option<u128> {
        duration.ok().map(|duration| duration.as_millis())
    }

    #[test]
    fn annotation_durations_are_one_number_and_a_unit() {
        for (text, expected) in [
            ("0", Some(0)),
            ("10s", Some(10_000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("1d", Some(86_400_000)),
            ("", None),
            ("s", None),
            ("10", None),
            ("1.5s", None),
            ("1m30s", None),
            ("-1s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(ms(annotation(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn gateway_durations_are_gep_2257() {
        for (text, expected) in [
            ("1h", Some(3_600_000)),
            ("1h30m10s500ms", Some(5_410_500)),
            ("10s", Some(10_000)),
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("1s1s1s1s1s", None),
            ("123456s", None),
            ("1.5s", None),
            ("10", None),
            ("", None),
            ("s", None),
            ("1d", None),
            ("-1s", None),
        ] {
            assert_eq!(ms(gateway(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn go_durations_have_fractions() {
        for (text, expected) in [
            ("1.5s", Some(1_500)),
            ("1m30s", Some(90_000)),
            (".5s", Some(500)),
            ("300ms", Some(300)),
            ("1500us", Some(1)),
            ("1500µs", Some(1)),
            ("0", Some(0)),
            ("+1s", Some(1_000)),
            ("-1s", None),
            ("1", None),
            ("", None),
            (".s", None),
            ("1.2.3s", None),
            ("1x", None),
            ("1e3s", None),
        ] {
            assert_eq!(ms(go(text)), expected, "{text:?}");
        }
    }
}
