//! `oneroot adopt`: machines that nobody has named get names, one at a time, from a list, or as they are switched on.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use oneroot_bootconf::gives::{Boots, Gives};
use oneroot_ids::Mac;
use oneroot_machines::{Newcomer, Request};
use serde::{Deserialize, Serialize};

use super::mapping::{Mapped, change, gives};
use crate::cli::mapping::Adopt;
use crate::print::{Document, Page};

/// A list is read whole; 10,000 machines have less.
const LARGEST: u64 = 4 << 20;
/// Names of a row that are shown.
const SHOWN: usize = 3;

/// What was done, or would be.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Adopted {
    /// Machines have names.
    Done(Mapped),
    /// Whoever comes gets one, or would.
    Order {
        /// The names: `seat-{01..40}`; none where that ends.
        names: Option<String>,
        /// What they are assigned.
        gives: Gives,
        /// Whether nothing was done.
        dry_run: bool,
    },
    /// These would get names.
    Would {
        /// All of them.
        would_adopt: Vec<Newcomer>,
    },
}

impl Document for Adopted {
    fn page(&self) -> Page {
        match self {
            Self::Done(done) => done.page(),
            Self::Order { names: None, .. } => Page::of_line("machines that nobody has named stay so again"),
            Self::Order { names: Some(names), gives, dry_run } => {
                let would = if *dry_run { "would be" } else { "are" };
                Page::of_line(format_args!(
                    "machines that nobody has named {would} adopted as {names}, in the order in which they ask for a boot script, \
                     each with {}; `oneroot adopt --stop` ends it",
                    gives.in_words()
                ))
            }
            Self::Would { would_adopt } => {
                let mut page = Page::default();
                for Newcomer { macs, name, gives } in would_adopt {
                    let macs: Vec<String> = macs.iter().map(Mac::to_string).collect();
                    page.line(format_args!("{} would be {name}: {}", macs.join(" "), gives.in_words()));
                }
                page
            }
        }
    }
}

/// `oneroot adopt`.
pub fn adopt(state: &Path, asked: &Adopt) -> Result<Adopted> {
    if asked.stop {
        change(state, &Request::StopAdopting, "adopted")?;
        return Ok(Adopted::Order { names: None, gives: Gives::default(), dry_run: false });
    }
    if let Some(names) = &asked.next {
        return next(state, asked, names);
    }
    let newcomers = match &asked.from {
        Some(list) => listed(list, &gives(&asked.given))?,
        None => {
            let macs = asked.mac.into_iter().collect();
            vec![Newcomer { macs, name: asked.name.clone().unwrap_or_default(), gives: gives(&asked.given) }]
        }
    };
    let request = Request::Adopt { machines: newcomers.clone(), dry_run: asked.dry_run };
    let done = change(state, &request, "adopted")?;
    Ok(if asked.dry_run { Adopted::Would { would_adopt: newcomers } } else { Adopted::Done(done) })
}

/// Shows what whoever comes would get, and asks for it once a person at a terminal has said yes.
fn next(state: &Path, asked: &Adopt, names: &str) -> Result<Adopted> {
    let order =
        |dry_run| Adopted::Order { names: Some(names.to_owned()), gives: gives(&asked.given), dry_run };
    let request =
        |dry_run| Request::AdoptNext { names: names.to_owned(), gives: gives(&asked.given), dry_run };
    if asked.dry_run {
        change(state, &request(true), "adopted")?;
        return Ok(order(true));
    }
    // A script has nobody who could answer.
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        let words = gives(&asked.given).in_words();
        // Standard output is the document's alone.
        let mut stderr = std::io::stderr().lock();
        write!(
            stderr,
            "Whoever asks for a boot script and has no name becomes {names}, with {words}, until `oneroot adopt --stop`. Go on? [y/N] "
        )?;
        stderr.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        ensure!(answer.trim().eq_ignore_ascii_case("y"), "nothing was done");
    }
    change(state, &request(false), "adopted")?;
    Ok(order(false))
}

/// A line of a list, by its heading.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    mac: String,
    name: String,
    #[serde(default)]
    profile: Option<String>,
    #[serde(default)]
    workloads: Option<String>,
    #[serde(default)]
    args: Option<String>,
}

/// The machines of a CSV file; `gives` is for those whose line does not say otherwise.
fn listed(path: &Path, gives: &Gives) -> Result<Vec<Newcomer>> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = oneroot_tree::confine::open_file(path).with_context(|| path.display().to_string())?;
    // One byte more tells a list that is too long from one that just fits.
    file.take(LARGEST + 1).read_to_string(&mut text).with_context(|| path.display().to_string())?;
    ensure!(text.len() as u64 <= LARGEST, "{} is larger than 4 MiB", path.display());
    // Excel begins a CSV file in UTF-8 with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
    let mut newcomers = Vec::new();
    let mut problems = Vec::new();
    for line in reader.deserialize::<Line>() {
        match line.map_err(anyhow::Error::from).and_then(|line| newcomer(line, gives)) {
            Ok(one) => newcomers.push(one),
            Err(cause) => problems.push(format!("{}: {cause:#}", path.display())),
        }
    }
    if !problems.is_empty() {
        let more = problems.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
        bail!("{}{more}", problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n"));
    }
    ensure!(!newcomers.is_empty(), "{} lists no machine", path.display());
    Ok(newcomers)
}

fn newcomer(line: Line, gives: &Gives) -> Result<Newcomer> {
    let words = |text: Option<String>| -> Option<Vec<String>> {
        Some(text?.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter(|words| !words.is_empty())
    };
    let macs = line.mac.split_whitespace().map(str::parse::<Mac>);
    let macs = macs.collect::<Result<Vec<_>, _>>().with_context(|| line.name.clone())?;
    let profile = line.profile.filter(|profile| !profile.is_empty());
    let gives = Gives {
        boots: profile.map(Boots::Profile).or_else(|| gives.boots.clone()),
        workloads: words(line.workloads).unwrap_or_else(|| gives.workloads.clone()),
        args: words(line.args).unwrap_or_else(|| gives.args.clone()),
        ..gives.clone()
    };
    Ok(Newcomer { macs, name: line.name, gives })
}
