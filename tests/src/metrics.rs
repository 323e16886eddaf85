//! A metrics page, read strictly: what Prometheus would refuse, fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    samples: Vec<Sample>,
}

/// A line of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

impl Page {
    /// Reads a page in the text format 0.0.4 with an OpenMetrics end.
    ///
    /// # Errors
    /// What is wrong, and in which line: syntax, samples without a type, types told twice, samples told twice, histograms that
    /// do not add up, no end.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut types: BTreeMap<String, String> = BTreeMap::new();
        let mut samples: Vec<Sample> = Vec::new();
        let mut told = BTreeSet::new();
        let mut ended = false;
        for (number, line) in text.lines().enumerate() {
            let wrong = |what: &str| format!("line {}: {what}: {line}", number + 1);
            if ended {
                return Err(wrong("after the end"));
            }
            if line == "# EOF" {
                ended = true;
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or_else(|| wrong("no type"))?;
                if !["counter", "gauge", "histogram"].contains(&kind) {
                    return Err(wrong("no type that there is"));
                }
                if types.insert(name.to_owned(), kind.to_owned()).is_some() {
                    return Err(wrong("a family told twice"));
                }
            } else if line.starts_with("# HELP ") || line.is_empty() {
                continue;
            } else if line.starts_with('#') {
                return Err(wrong("neither type nor help"));
            } else {
                let sample = sample(line).ok_or_else(|| wrong("no sample"))?;
                family(&sample.name, &types).ok_or_else(|| wrong("a sample without a type before it"))?;
                if !told.insert((sample.name.clone(), sample.labels.clone())) {
                    return Err(wrong("a sample told twice"));
                }
                if !sample.value.is_finite() || (sample.value < 0.0) {
                    return Err(wrong("a value that cannot be"));
                }
                samples.push(sample);
            }
        }
        let page = Self { samples };
        for (name, kind) in &types {
            if kind == "histogram" {
                page.check_histogram(name)?;
            }
        }
        if ended { Ok(page) } else { Err("no # EOF at the end".to_owned()) }
    }

    fn check_histogram(&self, name: &str) -> Result<(), String> {
        let counts = self.all(&format!("{name}_count"), &[]);
        for count in counts {
            let buckets: Vec<_> = self
                .samples
                .iter()
                .filter(|sample| sample.name == format!("{name}_bucket"))
                .filter(|sample| {
                    let mut labels = sample.labels.clone();
                    labels.remove("le").is_some() && labels == count.labels
                })
                .collect();
            let values: Vec<f64> = buckets.iter().map(|bucket| bucket.value).collect();
            let last = buckets.last().and_then(|bucket| bucket.labels.get("le"));
            if !values.is_sorted()
                || last.map(String::as_str) != Some("+Inf")
                || values.last() != Some(&count.value)
            {
                return Err(format!(
                    "the buckets of {name} {:?} do not add up: {values:?}, {}",
                    count.labels, count.value
                ));
            }
        }
        Ok(())
    }

    /// All samples of a name with these labels among theirs.
    pub fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let matches = |sample: &&Sample| {
            let has =
                |(key, value): &(&str, &str)| sample.labels.get(*key).is_some_and(|found| found == value);
            sample.name == name && labels.iter().all(has)
        };
        self.samples.iter().filter(matches).collect()
    }

    /// Their sum; 0 if there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.all(name, labels).iter().map(|sample| sample.value).sum()
    }

    /// All samples, for a test's message.
    pub fn describe(&self, name: &str) -> String {
        let all = self.all(name, &[]);
        all.iter()
            .map(|sample| format!("{:?} {}", sample.labels, sample.value))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// How often a bound of a worker was met.
    pub fn met(&self, bound: &str) -> f64 {
        self.sum("weft_worker_bound_met_total", &[("bound", bound)])
    }

    /// What a worker holds now.
    pub fn held(&self, what: &str) -> f64 {
        self.sum("weft_worker_held", &[("what", what)])
    }
}

/// The family a sample belongs to, and its type.
fn family<'a>(name: &'a str, types: &'a BTreeMap<String, String>) -> Option<(&'a str, &'a str)> {
    if let Some(kind) = types.get(name) {
        return Some((name, kind));
    }
    let of = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end))?;
    types.get(of).filter(|kind| *kind == "histogram").map(|kind| (of, kind.as_str()))
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if name.is_empty() || !name.chars().all(good) {
        return None;
    }
    let mut labels = BTreeMap::new();
    let rest = match rest.strip_prefix('{') {
        None => rest,
        Some(mut rest) => loop {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            if key.is_empty() || !key.chars().all(good) || labels.insert(key.to_owned(), value).is_some() {
                return None;
            }
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => break after.strip_prefix('}')?,
            }
        },
    };
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Text up to its closing quote, escapes undone, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let page = Page::parse(
            "# HELP x_total Some.\n# TYPE x_total counter\nx_total{a=\"b \\\"c\\\" \\\\ \\n\",d=\"\"} 3\nx_total 4\n\
             # TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 7.5\nh_count 2\n# EOF\n",
        )
        .unwrap();
        assert_eq!(page.sum("x_total", &[]), 7.0);
        assert_eq!(page.sum("x_total", &[("a", "b \"c\" \\ \n")]), 3.0);
        assert_eq!(page.sum("h_sum", &[]), 7.5);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for (wrong, text) in [
            ("no end", "# TYPE x counter\nx 1\n"),
            ("no type", "x 1\n# EOF\n"),
            ("value", "# TYPE x counter\nx one\n# EOF\n"),
            ("quote", "# TYPE x counter\nx{a=\"b} 1\n# EOF\n"),
            ("twice", "# TYPE x counter\nx 1\nx 2\n# EOF\n"),
            ("type twice", "# TYPE x counter\n# TYPE x counter\n# EOF\n"),
            ("label twice", "# TYPE x counter\nx{a=\"1\",a=\"2\"} 1\n# EOF\n"),
            ("buckets", "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 2\n# EOF\n"),
            ("after the end", "# EOF\nx 1\n"),
        ] {
            assert!(Page::parse(text).is_err(), "{wrong}");
        }
    }
}
