//! Runs the programs in [`EXAMINE`], which find out about this machine (docs/decisions/0023), each for so long, and all together. What one of
//! them does keeps no machine from coming up: nothing of it is written anywhere, and what it prints has a bound.
//!
//! | a file there | is |
//! |---|---|
//! | whose name begins with a dot, or which is no regular file | passed over |
//! | which can't be run, or has lost its mode | a program that failed |
//! | called as another is, as far as a [`HookName`] tells | the same, and so is the other: nobody could say whose facts are whose |
//! | one more than [`MOST_HOOKS`] | the same, and not among what is told: its facts stay, as those of a program that is not there |

use std::collections::BTreeMap;
use std::time::Duration;

use oneroot_initrd::examined::{Examination, HookName, LARGEST, MOST_HOOKS, MOST_PRINTED, Outcome};
use oneroot_initrd::report::shown;

use crate::kernel::{Ended, Kernel, Ran, Result, name};

/// Where they are.
pub const EXAMINE: &str = "/etc/oneroot/examine.d";
/// What one may take.
const ONE: Duration = Duration::from_secs(60);
/// What all of them may take together.
const ALL: Duration = Duration::from_secs(300);
/// The names that machines look up to say something, which are never there.
const SAY: &str = "/.oneroot/say";
/// Bytes of a file's name (NAME_MAX).
const LONGEST_NAME: usize = 255;
/// Of programs that are too many, so many are named.
const MOST_NAMED: usize = 32;

/// A file that is taken for a program, and whether it may be run.
struct Program {
    file: String,
    word: HookName,
    may_run: Result<bool>,
}

/// What goes on while they run.
struct Examiner<'k> {
    kernel: &'k dyn Kernel,
    boot: &'k str,
    /// When there is no more time.
    end: Duration,
    /// Bytes that may still be printed.
    left: usize,
}

/// Runs them, and says of each that failed that it did: on the console, and to the server.
///
/// # Errors
/// When nobody can say which there are.
pub fn examine(kernel: &dyn Kernel, boot: &str) -> Result<Examination> {
    let programs = programs(kernel)?;
    let mut called = BTreeMap::<&HookName, usize>::new();
    programs.iter().for_each(|program| *called.entry(&program.word).or_default() += 1);
    let mut examination = Examination::default();
    let mut examiner = Examiner { kernel, boot, end: kernel.now() + ALL, left: LARGEST };
    let mut surplus = 0;
    for program in &programs {
        if examination.hooks.len() == MOST_HOOKS && !examination.hooks.contains_key(&program.word) {
            surplus += 1;
            if surplus <= MOST_NAMED {
                examiner.fail(program, &format!("there are more than {MOST_HOOKS}"));
            }
            continue;
        }
        let outcome = if called.get(&program.word).is_some_and(|files| *files > 1) {
            Err(format!("another is called {} too, as far as the server is told", program.word))
        } else {
            examiner.run(program)
        };
        let outcome = match outcome {
            Ok(printed) => Outcome::Printed(printed),
            Err(why) => {
                examiner.fail(program, &why);
                Outcome::Failed
            }
        };
        examination.hooks.insert(program.word.clone(), outcome);
    }
    if let Some(more) = surplus.checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        kernel.print(&format!("oneroot: and {more} more in {EXAMINE}, which were not run either"));
    }
    Ok(examination)
}

/// The programs that there are, in the order of their names.
fn programs(kernel: &dyn Kernel) -> Result<Vec<Program>> {
    let files = kernel.list(EXAMINE)?;
    let seen = files.into_iter().filter(|file| !file.starts_with('.'));
    let programs = seen.filter_map(|file| {
        let may_run = kernel.may_run(&format!("{EXAMINE}/{file}")).transpose()?;
        Some(Program { word: HookName::of_file(&file), may_run, file })
    });
    Ok(programs.collect())
}

impl Examiner<'_> {
    fn fail(&self, program: &Program, why: &str) {
        let Program { file, word, .. } = program;
        self.kernel.print(&format!("oneroot: {EXAMINE}/{} failed ({why})", shown(file, LONGEST_NAME)));
        let _ = self.kernel.is_there(&format!("{SAY}/{}.examine-failed-{word}", self.boot));
    }

    /// Runs one; what it has printed, or why nothing of that is told.
    fn run(&mut self, program: &Program) -> std::result::Result<Vec<u8>, String> {
        let within = self.end.saturating_sub(self.kernel.now()).min(ONE);
        match program.may_run {
            Err(errno) => return Err(name(errno)),
            Ok(false) => return Err("it may not be run: its mode has no x".to_owned()),
            Ok(true) if within.is_zero() => {
                return Err(format!("no time was left: all have {} s together", ALL.as_secs()));
            }
            Ok(true) => {}
        }
        let path = format!("{EXAMINE}/{}", program.file);
        let Ran { ended, printed } = self
            .kernel
            .ask(&path, MOST_PRINTED, within)
            .map_err(|errno| format!("it does not start: {}", name(errno)))?;
        match ended {
            Ended::With(0) => {}
            Ended::With(status) => return Err(status.to_string()),
            Ended::By(signal) => return Err(format!("signal {signal}")),
            Ended::Late => return Err(format!("it was killed after {} s", within.as_secs())),
            Ended::TooMuch => return Err(format!("it prints more than {} KiB", MOST_PRINTED >> 10)),
        }
        if std::str::from_utf8(&printed).is_err() {
            return Err("what it prints is no text".to_owned());
        }
        self.left = self
            .left
            .checked_sub(printed.len())
            .ok_or_else(|| format!("it prints too much with the others: {} KiB is for all", LARGEST >> 10))?;
        Ok(printed)
    }
}
