//! Rendered files: what a layer's `*.j2` become for one machine, staged like any layer and laid right above it.
//!
//! The result is a generation named by its content, so rendering again gives the same name and writes nothing. What has
//! been rendered once is remembered by (layer, facts).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use quick_cache::sync::Cache;

use super::made::Made;
use super::renderer::Renderer;
use crate::error::{Error, Result};
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::render::{LARGEST, SUFFIX, is_kept};
use oneroot_ids::{GenerationId, ObjectId};
use oneroot_tree::index::{Index, ROOT};
use oneroot_tree::node::{Content, Kind, Meta, TreePath};
use oneroot_tree::{Stage, Store};

/// Renderings that are remembered. A machine has one for each of its layers that has templates.
const MOST_REMEMBERED: usize = 50_000;

/// A template in a layer.
#[derive(Debug)]
pub struct Template {
    /// Its path in the layer, `.j2` included.
    pub path: Vec<u8>,
    meta: Meta,
    object: ObjectId,
    content: Content,
}

impl Template {
    /// The path of what is rendered.
    pub fn target(&self) -> &[u8] {
        self.path.strip_suffix(SUFFIX.as_bytes()).unwrap_or(&self.path)
    }
}

/// What a layer has of templates, and of the directories on the way to them.
#[derive(Debug, Default)]
pub struct LayerTemplates {
    /// All of them.
    pub templates: Vec<Template>,
    directories: BTreeMap<Vec<u8>, Meta>,
}

/// Templates found and rendered so far.
pub struct Templates {
    /// Who renders them.
    pub renderer: Arc<dyn Renderer>,
    found: Cache<GenerationId, Arc<LayerTemplates>>,
    /// Whether a layer's templates look at what machines have found out about themselves.
    examining: Cache<GenerationId, bool>,
    rendered: Made<(GenerationId, Facts)>,
}

impl Templates {
    /// None so far.
    pub fn new(renderer: Arc<dyn Renderer>) -> Self {
        let (found, rendered) = (Cache::new(MOST_REMEMBERED), Made::at_most(MOST_REMEMBERED));
        Self { renderer, found, examining: Cache::new(MOST_REMEMBERED), rendered }
    }

    /// Whether a layer has a template that may say what machines have found out about themselves. Blocks on the disk.
    pub fn examine(&self, store: &Store, layer: GenerationId) -> Result<bool> {
        if let Some(known) = self.examining.get(&layer) {
            return Ok(known);
        }
        let mut is_named = false;
        for template in &self.of(store, layer)?.templates {
            let mut text = Vec::new();
            store.object(template.object)?.take(LARGEST as u64).read_to_end(&mut text)?;
            is_named |= String::from_utf8_lossy(&text).contains("examined");
        }
        self.examining.insert(layer, is_named);
        Ok(is_named)
    }

    /// The templates of a layer. Blocks on the disk.
    pub fn of(&self, store: &Store, layer: GenerationId) -> Result<Arc<LayerTemplates>> {
        if let Some(found) = self.found.get(&layer) {
            return Ok(found);
        }
        let found = Arc::new(find(&store.generation(layer)?));
        self.found.insert(layer, found.clone());
        Ok(found)
    }

    /// The generation that a layer's templates make for a machine; `None` for a layer without any. `shown` is the
    /// layer's name in messages. Blocks on the disk.
    pub fn rendered(
        &self,
        store: &Arc<Store>,
        layer: GenerationId,
        shown: &str,
        facts: &Facts,
    ) -> Result<Option<GenerationId>> {
        let found = self.of(store, layer)?;
        if found.templates.is_empty() {
            return Ok(None);
        }
        let made = self
            .rendered
            .or_make(store, &(layer, facts.clone()), |(_, facts)| self.stage(store, &found, shown, facts));
        made.map(Some)
    }

    fn stage(
        &self,
        store: &Arc<Store>,
        found: &LayerTemplates,
        layer: &str,
        facts: &Facts,
    ) -> Result<GenerationId> {
        let mut stage = Stage::begin(store, |_| {})?;
        // No source has these files, so nothing else would put them right.
        stage.distrust();
        for (path, meta) in &found.directories {
            stage.insert(&TreePath::parse(path)?, meta.clone(), Content::Directory { opaque: false })?;
        }
        for template in &found.templates {
            let name = shown(layer, template);
            let content = if is_kept(&template.path) {
                template.content.clone()
            } else {
                let text = self.renderer.render(&name, &text(store, template, &name)?, facts)?;
                stage.object(text.as_bytes(), template.target())?
            };
            stage.insert(&TreePath::parse(template.target())?, template.meta.clone(), content)?;
            // The template itself is no file of the machine's.
            stage.insert(&TreePath::parse(&template.path)?, Meta::default(), Content::Whiteout)?;
        }
        Ok(stage.finish()?.generation)
    }
}

/// A template's text.
pub fn text(store: &Store, template: &Template, shown: &str) -> Result<String> {
    let mut bytes = Vec::new();
    // One byte more than a template may have, so that the renderer finds it too long and does not render a part.
    let limit = LARGEST as u64 + 1;
    store.object(template.object)?.take(limit).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| Error::NoText(shown.to_owned()))
}

/// The name of a template for people: its layer's and its own.
pub fn shown(layer: &str, template: &Template) -> String {
    format!("{layer}/{}", template.path.escape_ascii())
}

fn find(index: &Index) -> LayerTemplates {
    let mut found = LayerTemplates::default();
    let mut todo = vec![(ROOT, Vec::new(), vec![ROOT])];
    while let Some((directory, path, way)) = todo.pop() {
        let (first, count) = index.inode(directory).map_or((0, 0), |inode| inode.run());
        for entry in (first..first.saturating_add(count)).filter_map(|place| index.entry(place)) {
            let Some(inode) = index.inode(entry.inode) else { continue };
            let mut below = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(entry.name);
            if inode.kind().is_directory() {
                let way = way.iter().copied().chain([entry.inode]).collect();
                todo.push((entry.inode, below, way));
            } else if let (Kind::Regular, Some(object)) = (inode.kind(), inode.object())
                && entry.name.strip_suffix(SUFFIX.as_bytes()).is_some_and(|name| !name.is_empty())
            {
                found.templates.push(Template {
                    path: below,
                    meta: inode.meta(),
                    object,
                    content: inode.content(),
                });
                // A merged directory is the upper layer's, so the rendered layer has those of the layer it lies over.
                for (depth, inode) in way.iter().enumerate() {
                    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').take(depth).collect();
                    if let Some(inode) = index.inode(*inode) {
                        found.directories.insert(names.join(&b'/'), inode.meta());
                    }
                }
            }
        }
    }
    found.templates.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
