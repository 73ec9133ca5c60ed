//! A row of names, for machines that get them in the order in which they come.

/// Names of one row.
const MOST: u32 = 10_000;

/// A row of names that differ by a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRow {
    before: String,
    after: String,
    first: u32,
    count: u32,
    digits: usize,
}

impl NameRow {
    /// Reads `seat-{01..40}`; the first number's digits are as many as all have at least.
    ///
    /// # Errors
    /// What it should look like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no row of names such as 'seat-{{01..40}}'");
        let (before, rest) = text.split_once('{').ok_or_else(bad)?;
        let (range, after) = rest.split_once('}').ok_or_else(bad)?;
        let (first, last) = range.split_once("..").ok_or_else(bad)?;
        let digits = |text: &str| text.len() <= 6 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = |text: &str| text.parse::<u32>().ok().filter(|_| digits(text)).ok_or_else(bad);
        let (from, to) = (number(first)?, number(last)?);
        let count = to.checked_sub(from).and_then(|more| more.checked_add(1)).ok_or_else(bad)?;
        if count > MOST {
            return Err(format!("{text:?} has {count} names, and {MOST} are the most"));
        }
        Ok(Self {
            before: before.to_owned(),
            after: after.to_owned(),
            first: from,
            count,
            digits: first.len(),
        })
    }

    /// The name at a place; none beyond the last.
    #[must_use]
    pub fn name(&self, place: u32) -> Option<String> {
        let Self { before, after, first, count, digits } = self;
        let number = first.checked_add(place).filter(|_| place < *count)?;
        Some(format!("{before}{number:0digits$}{after}"))
    }

    /// All of them.
    pub fn names(&self) -> impl Iterator<Item = String> {
        (0..self.count).filter_map(|place| self.name(place))
    }

    /// The next name that nobody has, from a place on, and the place behind it.
    #[must_use]
    pub fn free(&self, from: u32, is_taken: &dyn Fn(&str) -> bool) -> Option<(String, u32)> {
        let mut place = from;
        loop {
            let name = self.name(place)?;
            place += 1;
            if !is_taken(&name) {
                return Some((name, place));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_with_the_digits_of_its_first_number() {
        let names = |text: &str| {
            let row = NameRow::parse(text).unwrap();
            row.names().collect::<Vec<_>>()
        };
        assert_eq!(names("seat-{08..11}"), ["seat-08", "seat-09", "seat-10", "seat-11"]);
        assert_eq!(names("r{1..2}-n"), ["r1-n", "r2-n"]);
        assert_eq!(names("x{7..7}"), ["x7"]);
    }

    #[test]
    fn what_is_no_row_is_refused_and_none_is_without_end() {
        for bad in [
            "seat",
            "seat-{}",
            "seat-{1}",
            "seat-{2..1}",
            "{a..b}",
            "s{1..99999999}",
            "s{+1..3}",
            "s{1..20000}",
            "s}1..2{",
            "s{0..4294967295}",
        ] {
            assert!(NameRow::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_somebody_has_are_passed_over() {
        let row = NameRow::parse("s{1..4}").unwrap();
        let taken = |name: &str| name == "s1" || name == "s3";
        assert_eq!(row.free(0, &taken), Some(("s2".to_owned(), 2)));
        assert_eq!(row.free(2, &taken), Some(("s4".to_owned(), 4)));
        assert_eq!(row.free(4, &taken), None);
    }
}
