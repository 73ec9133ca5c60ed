//! `oneroot explain`: what a machine would boot now, where each part of it comes from, and which layer a file comes from and what
//! it hides. It needs no running server, and changes none.

use std::sync::Arc;

use anyhow::Result;
use oneroot_bootconf::asked::Catalogue;
use oneroot_bootconf::decided::{Decided as Outcome, Other, Way};
use oneroot_bootconf::decision::{Decision, Provenance, decide};
use oneroot_bootconf::gives::Boots;
use oneroot_bootconf::hardware::{Claims, Fact};
use oneroot_bootconf::{Site, Vars};
use oneroot_machines::initrds::{Composed, Ingredient};
use oneroot_machines::planner::renderer::Renderer;
use oneroot_machines::planner::{StackEntry, shown};
use oneroot_tree::node::{Kind, TreePath};
use oneroot_tree::view::{Node, Origin, Presence};
use serde::Serialize;

use super::generations::word;
use super::in_force::{InForce, in_force};
use super::initrd::ingredients;
use super::look::Look;
use super::names::first;
use super::preview::{Next, Preview, What, asked, mac_of, next, preview};
use crate::cli::{Exit, Supposed};
use crate::control;
use crate::print::{self, Document, Page};

/// What a layer of a stack is, for people.
fn name_of(laid: &StackEntry) -> String {
    let ours = match (laid.given, laid.initrd) {
        (true, _) => "oneroot, for this machine",
        (_, true) => "oneroot, its initrd",
        _ => "oneroot itself",
    };
    let name = laid.part.as_ref().map_or(ours.to_owned(), shown);
    if laid.rendered { format!("{name} (rendered)") } else { name }
}

/// What is told where the site's files alone could be asked.
const NOT_KNOWN: &str = "no server runs: what was adopted and assigned is not known here";

/// What stands below either page.
fn foot(page: &mut Page, is_whole: bool, trouble: Option<&String>) {
    if !is_whole {
        page.line("");
        page.line(NOT_KNOWN);
    }
    if let Some(trouble) = trouble {
        page.trouble(format_args!("oneroot: {trouble}"));
    }
}

/// What was decided, and by whom, under a heading.
pub fn said(why: &[Provenance]) -> Vec<[String; 3]> {
    let mut rows = vec![["WHAT", "VALUE", "FROM"].map(str::to_owned)];
    rows.extend(why.iter().map(|why| {
        let hidden = if why.hidden { ", hidden" } else { "" };
        [why.what.clone(), why.value.clone(), format!("{}{hidden}", why.from)]
    }));
    rows
}

/// What is decided for a machine, before anything of it is looked for in the store.
#[derive(Serialize)]
pub struct Decided {
    machine: String,
    mac: String,
    profile: Option<String>,
    /// What it gets that is no profile: `local`, `menu NAME`, `held`.
    other: Option<String>,
    workloads: Vec<String>,
    groups: Vec<String>,
    args: Vec<String>,
    vars: Vars,
    why: Vec<Provenance>,
    /// Why it boots nothing.
    trouble: Option<String>,
    /// Whether a server runs that knows what was assigned.
    assignments_known: bool,
}

impl Document for Decided {
    fn page(&self) -> Page {
        let mut page = Page::default();
        page.rows(&said(&self.why));
        foot(&mut page, self.assignments_known, self.trouble.as_ref());
        page
    }

    fn exit(&self) -> Exit {
        if self.trouble.is_none() { Exit::Done } else { Exit::Failed }
    }
}

/// `oneroot check --machine MACHINE`.
pub fn decided(site: &Site, machine: &str) -> Result<Decided> {
    let InForce { site, now, is_whole, .. } = in_force(site)?;
    let mac = mac_of(&site, machine)?;
    let (mut other, mut trouble, mut profile) = (None, None, None);
    let decision = match decide(&Catalogue::of(&site).at(now), &asked(&site, mac, &[])?) {
        Ok(Outcome::Profile(decision)) => {
            profile = Some(decision.profile.clone());
            *decision
        }
        Ok(Outcome::Other(Other { way, groups, why, .. })) => {
            other = Some(way.shown());
            Decision { groups, why, ..Decision::default() }
        }
        Err(cause) => {
            trouble = Some(cause.to_string());
            Decision::default()
        }
    };
    Ok(Decided {
        machine: machine.to_owned(),
        mac: mac.to_string(),
        profile,
        other,
        workloads: decision.workloads,
        groups: decision.groups,
        args: decision.args,
        vars: decision.vars,
        why: decision.why,
        trouble,
        assignments_known: is_whole,
    })
}

/// What a machine would boot, and why.
#[derive(Serialize)]
pub struct Explained {
    machine: String,
    mac: String,
    /// The view that it would boot; none where it boots no profile.
    view: Option<String>,
    /// What it gets instead: `local`, `menu NAME` or `held`.
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<String>,
    /// The same in words.
    #[serde(skip)]
    in_words: String,
    kernel: Option<String>,
    /// The first of them.
    initrd: Option<String>,
    initrds: Vec<String>,
    /// Why it has an initrd of oneroot's own, and what that is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    own_initrd: Option<OwnInitrd>,
    trouble: Option<String>,
    /// Links with a kernel's name that lead to no file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passed_over: Vec<String>,
    layers: Vec<LayerLine>,
    why: Vec<Provenance>,
    /// That the site's program was run for this, and how; none where it has no say.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<String>,
    /// What is told of it, by itself and on its way here.
    told: Claims,
    /// The view that it runs with now, where a server runs and knows it.
    running: Option<String>,
    /// Whether a server runs that knows what was assigned; else the site alone speaks here.
    assignments_known: bool,
}

#[derive(Serialize)]
struct OwnInitrd {
    why: &'static str,
    /// Paths of its parts in the view.
    #[serde(skip)]
    parts: Vec<String>,
    made_of: Vec<Ingredient>,
    missing: Vec<String>,
}

impl OwnInitrd {
    fn of(composed: &Composed, decision: &Decision) -> Self {
        let why = match decision.initramfs {
            Some(_) => "its initrd is oneroot's own, as its profile says",
            None => {
                "its initrd is oneroot's own, for no kernel of its tree has one and its profile says nothing of it"
            }
        };
        let Composed { parts, made_of, missing, .. } = composed.clone();
        Self { why, parts, made_of, missing }
    }
}

#[derive(Serialize)]
struct LayerLine {
    place: usize,
    generation: String,
    what: String,
}

impl Document for Explained {
    fn page(&self) -> Page {
        let mut page = Page::default();
        page.line(format_args!("{} ({}) {}", self.machine, self.mac, self.in_words));
        match &self.running {
            running if running.is_some() && *running == self.view => page.line("it runs with that view now"),
            Some(view) => page.line(format_args!("it runs with view {view} until it boots again")),
            None => {}
        }
        let told = Fact::ALL.iter().filter_map(|fact| Some(format!("{fact} {}", self.told.text(*fact)?)));
        let examined = self.told.examined.all().map(|(key, value)| format!("examined.{key} {value}"));
        let told: Vec<String> = told.chain(examined).collect();
        if !told.is_empty() {
            page.line(format_args!("told of it: {}", told.join(", ")));
        }
        page.line("");
        page.rows(&self.decided());
        if let Some(note) = &self.program {
            page.line(note);
        }
        if let Some(own) = &self.own_initrd {
            page.line("");
            page.line(own.why);
            page.rows(&ingredients(&own.made_of));
            own.missing.iter().for_each(|trouble| page.trouble(format_args!("warning: {trouble}")));
        }
        if self.view.is_some() {
            page.line("");
            page.rows(&self.stack());
        }
        foot(&mut page, self.assignments_known, self.trouble.as_ref());
        page
    }

    fn exit(&self) -> Exit {
        if self.trouble.is_none() { Exit::Done } else { Exit::Failed }
    }
}

impl Explained {
    /// What was decided, and by which table of the site.
    fn decided(&self) -> Vec<[String; 3]> {
        let mut rows = said(&self.why);
        if self.view.is_none() {
            return rows;
        }
        let composed = self.own_initrd.as_ref().map_or(&[][..], |own| &own.parts);
        rows.extend(boot_files(self.kernel.as_deref(), &self.initrds, composed));
        let lost = |path: &String| {
            ["passed over".to_owned(), path.clone(), "a link that leads to no file".to_owned()]
        };
        rows.extend(self.passed_over.iter().map(lost));
        rows
    }

    /// The layers, the topmost first.
    fn stack(&self) -> Vec<[String; 3]> {
        let mut rows = vec![["LAYER", "GENERATION", "STAGED FROM"].map(str::to_owned)];
        let row = |layer: &LayerLine| [layer.place.to_string(), first(&layer.generation), layer.what.clone()];
        rows.extend(self.layers.iter().rev().map(row));
        rows
    }
}

/// Kernel and initrds, and where they are from: those that are `composed` lie in no tree.
fn boot_files(kernel: Option<&str>, initrds: &[String], composed: &[String]) -> Vec<[String; 3]> {
    let row = |what: &str, path: &str, from: &str| [what, path, from].map(str::to_owned);
    let (own, found): (Vec<String>, Vec<String>) =
        initrds.iter().cloned().partition(|path| composed.contains(path));
    let mut rows = vec![row("kernel", kernel.unwrap_or("-"), "found in the view")];
    if !found.is_empty() || own.is_empty() {
        let found = if found.is_empty() { "-".to_owned() } else { found.join(" ") };
        rows.push(row("initrd", &found, "found in the view"));
    }
    if !own.is_empty() {
        rows.push(row("initrd", &own.join(" "), "composed of the view, see below"));
    }
    rows
}

/// `oneroot explain MACHINE`.
pub fn machine(
    site: &Site,
    machine: &str,
    supposed: &[Supposed],
    renderer: &Arc<dyn Renderer>,
) -> Result<Explained> {
    let look = Look::into_store_of(site)?;
    let Next { mac, is_whole, program, what: next, told } = next(site, &look, machine, supposed, renderer)?;
    let mac = mac.to_string();
    let status = control::ask_status(&site.server.state)?;
    let machines = status.into_iter().flat_map(|status| status.machines);
    let running = machines.into_iter().find(|seen| seen.macs.contains(&mac)).and_then(|seen| seen.view);
    let Preview { decision, facts, stacked, .. } = match next {
        What::Profile(preview) => *preview,
        What::Other(other) => {
            return Ok(Explained {
                assignments_known: is_whole,
                program,
                told,
                ..without_profile(other, mac, running)
            });
        }
    };
    let layers = stacked.entries.iter().enumerate().map(|(place, laid)| LayerLine {
        place,
        generation: laid.generation.to_string(),
        what: name_of(laid),
    });
    let layers = layers.collect();
    let own_initrd = stacked.composed.as_deref().map(|composed| OwnInitrd::of(composed, &decision));
    let (kernel, initrds, trouble) = match stacked.loaded {
        Ok(loaded) => {
            let own = loaded.own.iter().flat_map(|own| &own.parts).cloned();
            (Some(loaded.kernel), loaded.initrds.iter().cloned().chain(own).collect(), None)
        }
        Err(trouble) => (None, Vec::new(), Some(trouble.to_string())),
    };
    Ok(Explained {
        machine: facts.name,
        mac,
        in_words: format!("would boot view {}", stacked.id),
        view: Some(stacked.id.to_string()),
        other: None,
        kernel,
        initrd: initrds.first().cloned(),
        initrds,
        own_initrd,
        trouble,
        passed_over: stacked.dangling,
        layers,
        why: decision.why,
        program,
        told,
        running,
        assignments_known: is_whole,
    })
}

/// A machine that boots no profile, and what it may choose where it is shown a menu.
fn without_profile(other: Other, mac: String, running: Option<String>) -> Explained {
    let Other { name, way, mut why, .. } = other;
    if let Way::Menu(name, menu) = &way {
        let from = format!("[menu.{name}]");
        for choice in &menu.choices {
            let (what, value) = choice.gives.boots.as_ref().map_or(("boot", "-"), Boots::as_said);
            let is_default = choice.name == menu.default_choice();
            let default = if is_default { ", the default" } else { "" };
            let value = format!("{}: {what} {value}{default}", choice.name);
            why.push(Provenance { what: "choice".to_owned(), value, from: from.clone(), hidden: false });
        }
        let waits = menu.timeout.map_or("waits for somebody".to_owned(), |seconds| format!("{seconds} s"));
        why.push(Provenance { what: "timeout".to_owned(), value: waits, from, hidden: false });
    }
    Explained {
        machine: name.unwrap_or_else(|| mac.clone()),
        mac,
        view: None,
        other: Some(way.shown()),
        in_words: way.in_words(),
        kernel: None,
        initrd: None,
        initrds: Vec::new(),
        own_initrd: None,
        trouble: None,
        passed_over: Vec::new(),
        layers: Vec::new(),
        why,
        program: None,
        told: Claims::default(),
        running,
        assignments_known: true,
    }
}

/// What each layer says of a path, the topmost first.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Origins {
    lines: Vec<PathLine>,
    #[serde(skip)]
    machine: String,
    #[serde(skip)]
    path: String,
}

#[derive(Serialize)]
struct PathLine {
    place: u16,
    generation: String,
    what: String,
    says: String,
    seen: bool,
    /// The template that it was rendered from.
    template: Option<String>,
}

impl Origins {
    fn is_there(&self) -> bool {
        self.lines.iter().any(|line| line.seen)
    }
}

impl Document for Origins {
    fn page(&self) -> Page {
        let Self { lines, machine, path } = self;
        let mut rows = vec![["", "LAYER", "GENERATION", "STAGED FROM", "WHAT IT SAYS"].map(str::to_owned)];
        rows.extend(lines.iter().map(|line| {
            [
                if line.seen { "seen" } else { "hidden" }.to_owned(),
                line.place.to_string(),
                first(&line.generation),
                line.template.clone().unwrap_or_else(|| line.what.clone()),
                line.says.clone(),
            ]
        }));
        let mut page = Page::default();
        if self.is_there() {
            page.rows(&rows);
        } else if lines.is_empty() {
            page.trouble(format_args!("oneroot: no layer of {machine} has {path}"));
        } else {
            page.trouble(format_args!("oneroot: {machine} has no {path}: it is removed or covered"));
            print::table(&rows).lines().for_each(|row| page.trouble(row));
        }
        page
    }

    fn exit(&self) -> Exit {
        if self.is_there() { Exit::Done } else { Exit::Failed }
    }
}

/// `oneroot explain MACHINE PATH`.
pub fn path(
    site: &Site,
    machine: &str,
    path: &str,
    supposed: &[Supposed],
    renderer: &Arc<dyn Renderer>,
) -> Result<Origins> {
    let look = Look::into_store_of(site)?;
    let preview = preview(site, &look, machine, supposed, renderer)?;
    let origins = preview.stacked.view.origins(&TreePath::parse(path.as_bytes())?);
    let lines = origins.iter().filter_map(|origin| line(&preview, path, origin)).collect();
    Ok(Origins { lines, machine: machine.to_owned(), path: path.to_owned() })
}

fn line(preview: &Preview, path: &str, origin: &Origin) -> Option<PathLine> {
    let laid = preview.stacked.entries.get(usize::from(origin.layer))?;
    let is_file = matches!(origin.presence, Presence::Is(_, Kind::Regular));
    let template = (laid.rendered && is_file).then(|| {
        let layer = laid.part.as_ref().map_or(String::new(), shown);
        format!("{layer}/{}.j2", path.trim_start_matches('/'))
    });
    Some(PathLine {
        place: origin.layer,
        generation: laid.generation.to_string(),
        what: name_of(laid),
        says: in_words(preview, origin),
        seen: !origin.hidden && matches!(origin.presence, Presence::Is(..)),
        template,
    })
}

/// What a layer says of a path, for people.
fn in_words(preview: &Preview, origin: &Origin) -> String {
    match origin.presence {
        Presence::Gone => "is removed here".to_owned(),
        Presence::InTheWay => "something on the way is not a directory here".to_owned(),
        Presence::Opaque => "a directory on the way begins anew here".to_owned(),
        Presence::Is(inode, kind) => {
            let Some(inode) = preview.stacked.view.inode(Node { layer: origin.layer, inode }) else {
                return "?".to_owned();
            };
            let (mode, size) = (inode.mode(), inode.size());
            format!("{}, mode {mode:04o}, owner {}:{}, {size} bytes", word(kind), inode.uid(), inode.gid())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initrd_of_ours_is_told_of_as_composed_and_not_as_found() {
        let paths = ["/boot/ucode", "/.oneroot/boot/initrd"].map(str::to_owned);
        let from = |initrds: &[String], composed: &[String]| -> Vec<String> {
            let rows = boot_files(Some("/vmlinuz"), initrds, composed).into_iter().skip(1);
            rows.map(|[_, path, from]| format!("{path} {}", from.split(' ').next().unwrap_or_default()))
                .collect()
        };
        let [found, composed] = ["/boot/ucode found", "/.oneroot/boot/initrd composed"];
        assert_eq!(from(&paths, &paths[1..]), [found, composed]);
        assert_eq!(from(&paths[1..], &paths[1..]), [composed]);
        assert_eq!(from(&paths[..1], &[]), [found]);
        assert_eq!(from(&[], &[]), ["- found"]);
    }
}
