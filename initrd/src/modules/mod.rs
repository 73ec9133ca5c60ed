//! What `depmod` has written of a kernel's modules: which module a device asks for, and what has to be loaded before it and after.
//!
//! The tables are texts of a tree that somebody else has made, so what they say is bounded: their sizes here, and every walk by
//! visiting each module once, whatever circles they have. modules.dep(5), modprobe.d(5) for `softdep`; names are told as kmod
//! tells them: `-` is `_`, and a name that is no module's is looked for among the aliases. What the tree's admin says over them
//! is in [`conf`].

pub mod conf;
mod glob;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use conf::Conf;
use thiserror::Error;

/// Bytes of one table: some ten times what a distribution's kernel has.
pub const LARGEST: usize = 8 << 20;
/// Modules of one kernel.
pub const MOST: usize = 1 << 16;
/// Lines of `modules.alias`.
pub const MOST_ALIASES: usize = 1 << 17;
/// Words of `modules.softdep`: each may be looked for among all aliases.
pub const MOST_SOFT: usize = 1024;
/// Bytes of one of them: a module's name, or an algorithm's.
const LONGEST_SOFT: usize = 64;
/// Steps that are taken through patterns for one question, of bytes: a kernel with 30,000 aliases takes some ten for each.
pub const MOST_STEPS: u64 = 50_000_000;
/// Bytes of a module's path below `/lib/modules/VERSION`, of an alias, and of what a device says of itself.
pub const LONGEST: usize = 1024;
/// Modules that one alias is looked for as: a device has one driver or two, an algorithm a few.
pub const MOST_CALLED: usize = 64;

/// The tables of one kernel.
#[derive(Debug, Default)]
pub struct Tables<'t> {
    modules: Vec<Module<'t>>,
    /// Which of them has a name.
    names: HashMap<Cow<'t, str>, usize>,
    /// Patterns, and the modules that they stand for.
    aliases: Vec<(&'t str, &'t str)>,
    soft: HashMap<Cow<'t, str>, Vec<Soft<'t>>>,
    builtin: HashSet<Cow<'t, str>>,
    conf: Conf<'t>,
}

#[derive(Debug)]
struct Module<'t> {
    path: &'t str,
    /// The paths that it needs; the first to be loaded comes last.
    needs: &'t str,
}

/// What should be loaded with a module, by name or alias, and needs not be there.
#[derive(Debug)]
enum Soft<'t> {
    Before(&'t str),
    After(&'t str),
}

/// The tables of some modules, as texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrowed {
    /// `modules.dep`.
    pub dep: String,
    /// `modules.alias`.
    pub alias: String,
    /// `modules.softdep`.
    pub softdep: String,
    /// Lines of modprobe.d; softdeps are in the table above.
    pub conf: String,
}

/// Tables that are not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadTables {
    /// More than any kernel has.
    #[error("{0} has more bytes than any kernel's: {max} MiB, or {few} KiB of modprobe.d", max = LARGEST >> 20, few = conf::LARGEST >> 10)]
    TooLarge(&'static str),
    /// More modules than any kernel has.
    #[error("{0} has more lines or words than any kernel's")]
    TooMany(&'static str),
    /// A path that leads out of the modules' directory, or is none.
    #[error(
        "modules.dep names {0:?}, which is no path below its directory: let depmod of kmod write it anew (`depmod VERSION` in the tree)"
    )]
    Path(String),
}

/// A step on the way through what a module needs.
enum Step {
    Visit(usize),
    Load(usize),
}

impl<'t> Tables<'t> {
    /// Reads `modules.dep`, `modules.alias`, `modules.softdep` and `modules.builtin`; each may be empty.
    ///
    /// # Errors
    /// [`BadTables`].
    pub fn parse(
        dep: &'t str,
        alias: &'t str,
        softdep: &'t str,
        builtin: &'t str,
    ) -> Result<Self, BadTables> {
        let texts = [
            ("modules.dep", dep),
            ("modules.alias", alias),
            ("modules.softdep", softdep),
            ("modules.builtin", builtin),
        ];
        if let Some((name, _)) = texts.iter().find(|(_, text)| text.len() > LARGEST) {
            return Err(BadTables::TooLarge(name));
        }
        let mut tables = Self::default();
        tables.read_modules(dep)?;
        tables.read_aliases(alias)?;
        tables.read_soft(softdep)?;
        tables.builtin = builtin.lines().map(|path| name_of(path.trim_ascii())).collect();
        Ok(tables)
    }

    /// With what the tree's admin says of modules, in whole lines ([`conf::joined`]).
    ///
    /// # Errors
    /// [`BadTables`].
    pub fn told(mut self, conf: &'t str) -> Result<Self, BadTables> {
        self.conf = Conf::parse(conf)?;
        let softdeps = std::mem::take(&mut self.conf.softdeps);
        self.read_softdeps(softdeps.into_iter(), "modprobe.d")?;
        Ok(self)
    }

    fn read_modules(&mut self, dep: &'t str) -> Result<(), BadTables> {
        for line in lines(dep) {
            let (path, needs) = line.split_once(':').unwrap_or((line, ""));
            for path in [path].into_iter().chain(needs.split_ascii_whitespace()) {
                if !is_inside(path) {
                    return Err(BadTables::Path(path.chars().take(200).collect()));
                }
            }
            if self.modules.len() == MOST {
                return Err(BadTables::TooMany("modules.dep"));
            }
            self.names.entry(name_of(path)).or_insert(self.modules.len());
            self.modules.push(Module { path, needs });
        }
        Ok(())
    }

    fn read_aliases(&mut self, alias: &'t str) -> Result<(), BadTables> {
        for line in lines(alias) {
            let mut words = line.split_ascii_whitespace();
            let (Some("alias"), Some(pattern), Some(module), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            if self.aliases.len() == MOST_ALIASES {
                return Err(BadTables::TooMany("modules.alias"));
            }
            if pattern.len() <= LONGEST {
                self.aliases.push((pattern, module));
            }
        }
        Ok(())
    }

    fn read_soft(&mut self, softdep: &'t str) -> Result<(), BadTables> {
        let told = lines(softdep).filter_map(|line| line.strip_prefix("softdep")).filter(|rest| {
            // Another word may begin so.
            rest.starts_with(|char: char| char.is_ascii_whitespace())
        });
        self.read_softdeps(told, "modules.softdep")
    }

    /// Lines without their first word.
    fn read_softdeps(
        &mut self,
        told: impl Iterator<Item = &'t str>,
        table: &'static str,
    ) -> Result<(), BadTables> {
        let mut left = MOST_SOFT;
        for line in told {
            let mut words = line.split_ascii_whitespace();
            let Some(module) = words.next() else { continue };
            let soft = self.soft.entry(folded(module)).or_default();
            let mut kind: Option<fn(&'t str) -> Soft<'t>> = None;
            for word in words {
                match word {
                    "pre:" => kind = Some(Soft::Before),
                    "post:" => kind = Some(Soft::After),
                    // What stands before either says nothing of an order, and kmod takes no note of it.
                    _ if word.len() > LONGEST_SOFT => {}
                    _ => soft.extend(kind.map(|kind| kind(word))),
                }
                left = left.checked_sub(1).ok_or(BadTables::TooMany(table))?;
            }
        }
        Ok(())
    }

    /// The names of the modules that are for a device, by what it says of itself in its `modalias`, or for an alias; in the order
    /// of `modules.alias`. What the admin does not want loaded is not among them.
    #[must_use]
    pub fn matching(&self, modalias: &str) -> Vec<&'t str> {
        self.matching_within(modalias, &mut MOST_STEPS.clone())
    }

    /// [`Tables::matching`], as far as a budget of steps goes.
    fn matching_within(&self, modalias: &str, left: &mut u64) -> Vec<&'t str> {
        if modalias.len() > LONGEST {
            return Vec::new();
        }
        // A line that is for another device differs in its first few bytes: no order of the lines would pay for itself.
        let mut found = self.admins(modalias, left);
        if found.is_empty() {
            let fit = self.aliases.iter().filter(|(pattern, _)| glob::matches(pattern, modalias, left));
            found.extend(fit.map(|(_, module)| *module));
        }
        self.wanted(found)
    }

    /// What the admin's own aliases say; where they say anything, nothing else counts.
    fn admins(&self, alias: &str, left: &mut u64) -> Vec<&'t str> {
        let fit = self.conf.aliases.iter().filter(|(pattern, _)| glob::matches(pattern, alias, left));
        fit.map(|(_, module)| *module).collect()
    }

    /// Those that may be loaded for a device or an alias, each once.
    fn wanted(&self, mut names: Vec<&'t str>) -> Vec<&'t str> {
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(*name) && self.is_wanted(name));
        names
    }

    /// Whether a device or an alias may load a module: the admin has not said otherwise, of it or of one that it needs.
    #[must_use]
    pub fn is_wanted(&self, name: &str) -> bool {
        !self.conf.is_blacklisted(name) && self.may_load(name)
    }

    /// Whether anything may load a module: the admin has not said that it, or one that it needs, is not to be.
    #[must_use]
    pub fn may_load(&self, name: &str) -> bool {
        if !self.conf.has_off() {
            return true;
        }
        let mut visited = HashSet::new();
        let mut left = vec![folded(name)];
        while let Some(name) = left.pop() {
            if self.conf.is_off(&name) {
                return false;
            }
            let Some(number) = self.names.get(name.as_ref()).copied() else { continue };
            if visited.insert(number) {
                let needs = self.modules.get(number).map_or("", |module| module.needs);
                left.extend(needs.split_ascii_whitespace().map(name_of));
            }
        }
        true
    }

    /// What the kernel is told when it loads a module, by its name or path.
    #[must_use]
    pub fn options(&self, path: &str) -> String {
        self.conf.options(&name_of(path))
    }

    /// The names of the modules that are for an Ethernet card with these PCI numbers, whatever its maker and its place say beside
    /// them: iPXE tells no more.
    #[must_use]
    pub fn of_pci(&self, vendor: u16, device: u16) -> Vec<&'t str> {
        let (vendor, device) = (format!("{vendor:08X}"), format!("{device:08X}"));
        let is_for = |pattern: &str| {
            let numbers = pattern.strip_prefix("pci:v").and_then(|rest| {
                let (first, rest) = rest.split_once('d')?;
                let (second, rest) = rest.split_once("sv")?;
                Some((first, second, rest.split_once("bc")?.1))
            });
            // What is for any vendor goes by the class, and such drivers are of hosts' own buses.
            numbers.is_some_and(|(first, second, class)| {
                first == vendor
                    && (second == device || second == "*")
                    && ["*", "02"].iter().any(|wanted| class.starts_with(wanted))
            })
        };
        let fit = self.conf.aliases.iter().chain(&self.aliases).filter(|(pattern, _)| is_for(pattern));
        self.wanted(fit.map(|(_, module)| *module).collect())
    }

    /// The tables of these modules alone, by their paths, as they are where each lies unpacked.
    #[must_use]
    pub fn narrowed(&self, paths: &[&str]) -> Narrowed {
        let mut narrowed = Narrowed::default();
        let kept: HashSet<&str> = paths.iter().copied().collect();
        let names: HashSet<Cow<'_, str>> = paths.iter().map(|path| name_of(path)).collect();
        for module in self.modules.iter().filter(|module| kept.contains(module.path)) {
            let needs = module.needs.split_ascii_whitespace().filter(|path| kept.contains(path));
            let needs: String = needs.map(|path| format!(" {}", bare(path))).collect();
            narrowed.dep += &format!("{}:{needs}\n", bare(module.path));
        }
        for (pattern, module) in self.aliases.iter().filter(|(_, module)| names.contains(&folded(module))) {
            narrowed.alias += &format!("alias {pattern} {module}\n");
        }
        for path in paths {
            let name = name_of(path);
            let Some(soft) = self.soft.get(&name).filter(|soft| !soft.is_empty()) else { continue };
            let words = soft.iter().map(|soft| match soft {
                Soft::Before(name) => format!(" pre: {name}"),
                Soft::After(name) => format!(" post: {name}"),
            });
            narrowed.softdep += &format!("softdep {name}{}\n", words.collect::<String>());
        }
        let names: Vec<Cow<'_, str>> = paths.iter().map(|path| name_of(path)).collect();
        narrowed.conf = self.conf.narrowed(&names);
        narrowed
    }

    /// The paths of all modules.
    pub fn paths(&self) -> impl Iterator<Item = &'t str> {
        self.modules.iter().map(|module| module.path)
    }

    /// Whether the kernel has this module in itself.
    #[must_use]
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(folded(name).as_ref())
    }

    /// Where a module lies, below `/lib/modules/VERSION`; none where the kernel has no such module. By its name, not an alias.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<&'t str> {
        self.modules.get(*self.names.get(folded(name).as_ref())?).map(|module| module.path)
    }

    /// The paths of all modules that have to be loaded for one, by name or alias, in that order and each once: what it needs, it,
    /// and what should follow it. Empty where the kernel has no such module, or has it in itself.
    #[must_use]
    pub fn order(&self, name: &str) -> Vec<&'t str> {
        self.order_of_all([name])
    }

    /// [`Tables::order`] for several. What is looked for among the aliases is found as far as [`MOST_STEPS`] go.
    #[must_use]
    pub fn order_of_all<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<&'t str> {
        let mut visited = vec![false; self.modules.len()];
        let (mut order, mut left) = (Vec::new(), MOST_STEPS);
        for name in names {
            let mut steps: Vec<Step> =
                self.called(name, &mut left).into_iter().rev().map(Step::Visit).collect();
            while let Some(step) = steps.pop() {
                match step {
                    Step::Load(number) => order.extend(self.modules.get(number).map(|module| module.path)),
                    Step::Visit(number) => {
                        let Some(visited @ false) = visited.get_mut(number) else { continue };
                        *visited = true;
                        // What comes first goes onto the heap last.
                        self.steps(number, &mut steps, &mut left);
                    }
                }
            }
        }
        order
    }

    /// What loading one module takes, the last first.
    fn steps(&self, number: usize, steps: &mut Vec<Step>, left: &mut u64) {
        let Some(module) = self.modules.get(number) else { return };
        let soft = self.soft.get(&name_of(module.path)).map_or(&[][..], Vec::as_slice);
        let after =
            soft.iter().filter_map(|soft| if let Soft::After(name) = soft { Some(*name) } else { None });
        let before =
            soft.iter().filter_map(|soft| if let Soft::Before(name) = soft { Some(*name) } else { None });
        let mut visit = |names: Vec<&str>, steps: &mut Vec<Step>| {
            // What a module can do without is not loaded against the admin's word.
            let names = names.into_iter().filter(|name| self.may_load(name));
            let called = names.flat_map(|name| self.called(name, left));
            let called: Vec<usize> = called.collect();
            steps.extend(called.into_iter().rev().map(Step::Visit));
        };
        visit(after.collect(), steps);
        steps.push(Step::Load(number));
        visit(before.collect(), steps);
        let needs = module.needs.split_ascii_whitespace();
        // The line's last is to be loaded first.
        steps.extend(
            needs.filter_map(|path| self.names.get(&name_of(path))).map(|number| Step::Visit(*number)),
        );
    }

    /// The modules that a name means: those that the admin calls so, else the one of that name, else those with that alias.
    fn called(&self, name: &str, left: &mut u64) -> Vec<usize> {
        let number = |name: &str| self.names.get(folded(name).as_ref()).copied();
        let is_an_alias = !self.admins(name, left).is_empty();
        match number(name).filter(|_| !is_an_alias) {
            Some(found) => vec![found],
            None => {
                self.matching_within(name, left).into_iter().take(MOST_CALLED).filter_map(number).collect()
            }
        }
    }
}

/// A module's name: its file's, without `.ko` and what it is packed with, and with `_` for `-`.
#[must_use]
pub fn name_of(path: &str) -> Cow<'_, str> {
    let file = path.rsplit('/').next().unwrap_or_default();
    folded(file.split_once(".ko").map_or(file, |(name, _)| name))
}

/// A module's path without what it is packed with.
#[must_use]
pub fn bare(path: &str) -> &str {
    let file = path.rfind('/').map_or(0, |slash| slash + 1);
    let end = path.get(file..).and_then(|name| name.find(".ko")).map(|at| file + at + ".ko".len());
    end.and_then(|end| path.get(..end)).unwrap_or(path)
}

/// With `_` for `-`.
fn folded(name: &str) -> Cow<'_, str> {
    if name.contains('-') { Cow::Owned(name.replace('-', "_")) } else { Cow::Borrowed(name) }
}

/// Lines that say something.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_ascii).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Whether a path stays in the directory that it starts from.
fn is_inside(path: &str) -> bool {
    let whole = (1..=LONGEST).contains(&path.len()) && !path.contains(|char: char| char.is_control());
    whole && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod kmod;
#[cfg(test)]
mod tests;
