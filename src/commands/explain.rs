//! `oneroot explain` and `oneroot render`: what a machine would boot now, where each part of it comes from, which layer a
//! file comes from and what it hides, and what templates become. Neither needs a running server, nor changes one.

use std::sync::Arc;

use anyhow::{Result, bail};
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decision::{Decision, Part, Provenance, decide};
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::plan::{BootPlan, Terms};
use oneroot_bootconf::render::is_kept;
use oneroot_bootconf::{Site, script};
use oneroot_ids::{BootId, Mac, MachineId};
use oneroot_tree::node::{Kind, TreePath};
use oneroot_tree::view::Presence;
use oneroot_tree::{Store, View};
use serde::Serialize;

use super::generations::word;
use super::meant;
use crate::cli::Exit;
use crate::print;
use crate::{clock, control};
use oneroot_machines::guest;
use oneroot_machines::planner::renderer::Renderer;
use oneroot_machines::planner::templates::{self, Template};
use oneroot_machines::planner::{Laid, Planner, Stacked, shown};

/// A machine's next boot, as far as it can be known before it happens.
struct Preview {
    mac: Mac,
    decision: Decision,
    facts: Facts,
    planner: Planner,
    stacked: Stacked,
}

/// The machines that the site names, as far as a line has room for them.
fn names_of(site: &Site) -> String {
    const SHOWN: usize = 8;
    let names: Vec<&str> = site.machines.keys().map(String::as_str).take(SHOWN).collect();
    let more = site.machines.len().saturating_sub(names.len());
    match (names.is_empty(), more) {
        (true, _) => "; this site names none".to_owned(),
        (_, 0) => format!("; this site has {}", names.join(", ")),
        (_, more) => format!("; this site has {} and {more} more", names.join(", ")),
    }
}

/// Works out what a machine would boot. `machine` is its name or one of its MACs.
fn preview(site: &Site, machine: &str, renderer: &Arc<dyn Renderer>) -> Result<Preview> {
    let named = site.machines.get(machine).and_then(|machine| machine.macs.first().copied());
    let mac = match named {
        Some(mac) => mac,
        None => machine.parse::<Mac>().or_else(|cause| {
            // What has a colon is a MAC address with a slip.
            if machine.contains(':') {
                return Err(cause.into());
            }
            bail!("no machine {machine:?}{}{}", names_of(site), meant(machine, site.machines.keys().cloned()))
        })?,
    };
    let (catalogue, asked) = (Catalogue::of(site), Asked::by(mac));
    let decision = decide(&catalogue, &asked)?;
    let facts = Facts::of(&catalogue, &decision, &asked);
    let store = Store::open(&site.server.store)?;
    let guest = guest::stage(&store, clock::now())?;
    let planner = Planner::new(store, guest, renderer.clone());
    let stacked = planner.stack(&site.home, &decision, &facts)?;
    Ok(Preview { mac, decision, facts, planner, stacked })
}

/// The root that a machine would boot, and the store that its files are in.
pub fn view(site: &Site, machine: &str, renderer: &Arc<dyn Renderer>) -> Result<(Arc<View>, Arc<Store>)> {
    let preview = preview(site, machine, renderer)?;
    Ok((preview.stacked.view.clone(), preview.planner.store().clone()))
}

/// What a layer of a stack is, for people.
fn name_of(laid: &Laid) -> String {
    let ours = if laid.given { "oneroot, for this machine" } else { "oneroot itself" };
    let name = laid.part.as_ref().map_or(ours.to_owned(), shown);
    if laid.rendered { format!("{name} (rendered)") } else { name }
}

#[derive(Serialize)]
struct Explained<'a> {
    machine: &'a str,
    mac: String,
    view: String,
    kernel: Option<String>,
    /// The first of them.
    initrd: Option<String>,
    initrds: &'a [String],
    trouble: Option<String>,
    /// Links with a kernel's name that lead to no file.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    passed_over: &'a [String],
    layers: Vec<LayerLine>,
    why: &'a [Provenance],
    /// The view that it runs with now, where a server runs and knows it.
    running: Option<String>,
}

#[derive(Serialize)]
struct LayerLine {
    place: usize,
    generation: String,
    what: String,
}

/// `oneroot explain MACHINE`.
pub fn machine(site: &Site, machine: &str, json: bool, renderer: &Arc<dyn Renderer>) -> Result<Exit> {
    let preview = preview(site, machine, renderer)?;
    let stacked = &preview.stacked;
    let layers = stacked.laid.iter().enumerate().map(|(place, laid)| LayerLine {
        place,
        generation: laid.generation.to_string(),
        what: name_of(laid),
    });
    let running = control::ask_status(&site.server.state)?
        .and_then(|status| {
            status.machines.into_iter().find(|seen| seen.macs.contains(&preview.mac.to_string()))
        })
        .and_then(|seen| seen.view);
    let explained = Explained {
        machine: &preview.facts.name,
        mac: preview.mac.to_string(),
        view: stacked.id.to_string(),
        kernel: stacked.loaded.as_ref().ok().map(|loaded| loaded.kernel.clone()),
        initrd: stacked.loaded.as_ref().ok().and_then(|loaded| loaded.initrds.first().cloned()),
        initrds: stacked.loaded.as_ref().map_or(&[], |loaded| loaded.initrds.as_slice()),
        passed_over: &stacked.dangling,
        trouble: stacked.loaded.as_ref().err().map(ToString::to_string),
        layers: layers.collect(),
        why: &preview.decision.why,
        running,
    };
    if json {
        print::json(&explained)?;
        return Ok(Exit::Done);
    }
    print::line(format_args!(
        "{} ({}) would boot view {}",
        explained.machine, explained.mac, explained.view
    ))?;
    match &explained.running {
        Some(view) if *view == explained.view => print::line("it runs with that view now")?,
        Some(view) => print::line(format_args!("it runs with view {view} until it boots again"))?,
        None => {}
    }
    let mut rows = vec![["WHAT", "VALUE", "FROM"].map(str::to_owned)];
    rows.extend(explained.why.iter().map(|why| [why.what.clone(), why.value.clone(), why.from.clone()]));
    let initrds = Some(explained.initrds.join(" ")).filter(|paths| !paths.is_empty());
    for (what, path) in [("kernel", explained.kernel.clone()), ("initrd", initrds)] {
        let path = path.unwrap_or_else(|| "-".to_owned());
        rows.push([what.to_owned(), path, "found in the view".to_owned()]);
    }
    rows.extend(
        explained
            .passed_over
            .iter()
            .map(|path| ["passed over".to_owned(), path.clone(), "a link that leads to no file".to_owned()]),
    );
    print::line("")?;
    print::rows(&rows)?;
    let mut rows = vec![["LAYER", "GENERATION", "STAGED FROM"].map(str::to_owned)];
    rows.extend(explained.layers.iter().rev().map(|layer| {
        [layer.place.to_string(), layer.generation.chars().take(12).collect(), layer.what.clone()]
    }));
    print::line("")?;
    print::rows(&rows)?;
    if let Some(trouble) = &explained.trouble {
        print::trouble(format_args!("oneroot: {trouble}"));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
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

/// `oneroot explain MACHINE PATH`.
pub fn path(
    site: &Site,
    machine: &str,
    path: &str,
    json: bool,
    renderer: &Arc<dyn Renderer>,
) -> Result<Exit> {
    let preview = preview(site, machine, renderer)?;
    let parsed = TreePath::parse(path.as_bytes())?;
    let mut lines = Vec::new();
    for claim in preview.stacked.view.origins(&parsed) {
        let Some(laid) = preview.stacked.laid.get(usize::from(claim.layer)) else { continue };
        let node = oneroot_tree::view::Node { layer: claim.layer, inode: 0 };
        let says = match claim.presence {
            Presence::Gone => "is removed here".to_owned(),
            Presence::InTheWay => "something on the way is not a directory here".to_owned(),
            Presence::Opaque => "a directory on the way begins anew here".to_owned(),
            Presence::Is(inode, kind) => {
                let inode = preview.stacked.view.inode(oneroot_tree::view::Node { inode, ..node });
                inode.map_or("?".to_owned(), |inode| {
                    let (mode, size) = (inode.mode(), inode.size());
                    format!(
                        "{}, mode {mode:04o}, owner {}:{}, {size} bytes",
                        word(kind),
                        inode.uid(),
                        inode.gid()
                    )
                })
            }
        };
        let template = laid.rendered.then(|| {
            let layer = laid.part.as_ref().map_or(String::new(), shown);
            format!("{layer}/{}.j2", path.trim_start_matches('/'))
        });
        lines.push(PathLine {
            place: claim.layer,
            generation: laid.generation.to_string(),
            what: name_of(laid),
            says,
            seen: !claim.hidden && matches!(claim.presence, Presence::Is(..)),
            template: template.filter(|_| matches!(claim.presence, Presence::Is(_, Kind::Regular))),
        });
    }
    if json {
        print::json(&lines)?;
    } else {
        let mut rows = vec![["", "LAYER", "GENERATION", "STAGED FROM", "WHAT IT SAYS"].map(str::to_owned)];
        rows.extend(lines.iter().map(|line| {
            [
                if line.seen { "seen" } else { "hidden" }.to_owned(),
                line.place.to_string(),
                line.generation.chars().take(12).collect(),
                line.template.clone().unwrap_or_else(|| line.what.clone()),
                line.says.clone(),
            ]
        }));
        if lines.iter().any(|line| line.seen) {
            print::rows(&rows)?;
        } else if lines.is_empty() {
            print::trouble(format_args!("oneroot: no layer of {machine} has {path}"));
        } else {
            print::trouble(format_args!("oneroot: {machine} has no {path}: it is removed or covered"));
            print::table(&rows).lines().for_each(print::trouble);
        }
    }
    Ok(if lines.iter().any(|line| line.seen) { Exit::Done } else { Exit::Failed })
}

#[derive(Serialize)]
struct Rendered {
    machine: String,
    script: Option<String>,
    files: Vec<RenderedFile>,
}

#[derive(Serialize)]
struct RenderedFile {
    path: String,
    template: String,
    text: String,
}

/// `oneroot render MACHINE`. Boot and machine ids are made at a boot; zeros stand for them here.
pub fn rendered(site: &Site, machine: &str, json: bool, renderer: &Arc<dyn Renderer>) -> Result<Exit> {
    let preview = preview(site, machine, renderer)?;
    let base = script::http_base(preview.facts.site.server, site.server.http_port);
    let url = script::url(&base, preview.mac);
    let plan = |loaded| {
        BootPlan::of(&Terms {
            site,
            decision: &preview.decision,
            facts: &preview.facts,
            loaded,
            view: preview.stacked.id,
            mac: preview.mac,
            machine: MachineId::from_random([0; 16]),
            boot: BootId::from_random([0; 8]),
            seal: None,
        })
    };
    let loaded = preview.stacked.loaded.as_ref();
    let script = loaded.ok().map(|loaded| script::boot(&base, &plan(loaded), &url));
    let rendered = Rendered { machine: preview.facts.name.clone(), script, files: files(&preview)? };
    if json {
        print::json(&rendered)?;
        return Ok(Exit::Done);
    }
    if let Some(script) = &rendered.script {
        print::text(format_args!("==> boot script\n{script}\n"))?;
    }
    for file in &rendered.files {
        print::line(format_args!("==> /{} (from {})", file.path, file.template))?;
        print::text(format_args!("{}\n", file.text))?;
    }
    if let Err(trouble) = loaded {
        print::trouble(format_args!("oneroot: {trouble}"));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

fn files(preview: &Preview) -> Result<Vec<RenderedFile>> {
    let store = preview.planner.store();
    let mut files = Vec::new();
    for laid in preview.stacked.laid.iter().filter(|laid| !laid.rendered) {
        let Some(part @ (Part::Layer { .. } | Part::Machine { .. })) = &laid.part else { continue };
        let found = preview.planner.templates.of(store, laid.generation)?;
        for template in found.templates.iter().filter(|template| !is_kept(&template.path)) {
            files.push(one(preview, &shown(part), template)?);
        }
    }
    Ok(files)
}

fn one(preview: &Preview, layer: &str, template: &Template) -> Result<RenderedFile> {
    let name = templates::shown(layer, template);
    let text = templates::text(preview.planner.store(), template, &name)?;
    let text = preview.planner.templates.renderer.render(&name, &text, &preview.facts)?;
    let path = template.target().escape_ascii().to_string();
    Ok(RenderedFile { path, text, template: name })
}
