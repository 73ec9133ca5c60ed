//! `oneroot render`: what a machine would be told, and what its templates become.

use std::sync::Arc;

use anyhow::Result;
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decided::Other;
use oneroot_bootconf::decision::Part;
use oneroot_bootconf::render::is_kept;
use oneroot_bootconf::screens::Told;
use oneroot_bootconf::{Site, screens, script};
use oneroot_ids::Mac;
use oneroot_machines::planner::renderer::Renderer;
use oneroot_machines::planner::shown;
use oneroot_machines::planner::templates::{self, Template};
use serde::Serialize;

use super::look::Look;
use super::preview::{Next, Preview, What, next};
use crate::cli::{Exit, Supposed};
use crate::print::{Document, Page};

/// What a machine would be told.
#[derive(Serialize)]
pub struct Rendered {
    machine: String,
    script: Option<String>,
    files: Vec<RenderedFile>,
    /// Why there is no script.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

#[derive(Serialize)]
struct RenderedFile {
    path: String,
    template: String,
    text: String,
}

impl Document for Rendered {
    fn page(&self) -> Page {
        let mut page = Page::default();
        if let Some(script) = &self.script {
            page.text(format_args!("==> boot script\n{script}\n"));
        }
        for file in &self.files {
            page.line(format_args!("==> /{} (from {})", file.path, file.template));
            page.text(format_args!("{}\n", file.text));
        }
        if let Some(trouble) = &self.trouble {
            page.trouble(format_args!("oneroot: {trouble}"));
        }
        page
    }

    fn exit(&self) -> Exit {
        if self.trouble.is_none() { Exit::Done } else { Exit::Failed }
    }
}

/// `oneroot render MACHINE`.
pub fn render(
    site: &Site,
    machine: &str,
    supposed: &[Supposed],
    renderer: &Arc<dyn Renderer>,
) -> Result<Rendered> {
    let look = Look::into_store_of(site)?;
    let Next { mac, what, .. } = next(site, &look, machine, supposed, renderer)?;
    let preview = match what {
        What::Profile(preview) => *preview,
        What::Other(other) => return Ok(without_profile(site, mac, &other)),
    };
    let base = script::http_base(preview.facts.site.server, site.server.http_port);
    let url = script::url(&base, preview.mac);
    let (script, trouble) = match &preview.stacked.loaded {
        Ok(loaded) => (Some(script::boot(&base, &preview.plan(site, loaded), &url)), None),
        Err(trouble) => (None, Some(trouble.to_string())),
    };
    let files = files(&preview)?;
    Ok(Rendered { machine: preview.facts.name, script, files, trouble })
}

/// What a machine is told that boots no profile.
fn without_profile(site: &Site, mac: Mac, other: &Other) -> Rendered {
    let catalogue = Catalogue::of(site);
    let address = catalogue.address_of(&Asked::by(mac));
    let base = script::http_base(site.server_for(address), site.server.http_port);
    let script = screens::of(&other.way, &Told { name: other.name.as_deref(), mac, address }, &base);
    let name = other.name.clone().unwrap_or_else(|| mac.to_string());
    Rendered { machine: name, script: Some(script), files: Vec::new(), trouble: None }
}

fn files(preview: &Preview) -> Result<Vec<RenderedFile>> {
    let store = preview.planner.store();
    let mut files = Vec::new();
    for laid in preview.stacked.entries.iter().filter(|laid| !laid.rendered) {
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
