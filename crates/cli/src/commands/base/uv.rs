//! Images of uv, made of its wheel.

use coil_build::stand_in::{StandInMaker, UvRecipe, label};
use coil_engine::Engine;
use coil_fetch::Fetcher;
use coil_oci::Reference;
use coil_wheel::index::IndexClient;

use super::{Base, day};
use crate::output;
use crate::progress::Screen;
use crate::report::Failure;

/// An image of uv that is wanted.
pub(super) struct UvRequest {
    pub(super) name: Reference,
    pub(super) recipe: UvRecipe,
}

/// What making images of uv works with.
pub(super) struct UvImages<'a> {
    pub(super) base: &'a Base,
    pub(super) engine: &'a Engine,
    pub(super) index: &'a IndexClient<'a>,
    pub(super) fetcher: &'a Fetcher,
}

impl UvImages<'_> {
    /// Makes one, unless it is here and nobody wants another.
    pub(super) fn one(
        &self,
        maker: &StandInMaker<'_>,
        request: &UvRequest,
        screen: &Screen,
    ) -> Result<(), Failure> {
        let name = &request.name;
        let Base { update, dry_run, .. } = *self.base;
        if self.base.lock.is_some() && !self.base.quiet {
            output::error_line(&format!(
                "note: {} is not pinned in a lock; a version in its tag says which uv it has",
                name.familiar()
            ));
        }
        let before = self.engine.stand_in(name)?;
        if let Some((named, image)) = &before
            && !update
            && !dry_run
            && maker.is_whole(&named.descriptor)
        {
            self.base.tell_here(name, image);
            return Ok(());
        }
        if update || dry_run {
            let newest = maker.newest_uv(&request.recipe, self.index)?.version;
            let known = before.and_then(|(_, image)| image.config.config.labels.get(label::UV).cloned());
            let name = name.familiar();
            let line = match known {
                Some(known) if known == newest => format!("{name}: uv stays at {known}"),
                Some(known) => format!("{name}: uv {known} -> {newest}"),
                None => format!("{name}: uv {newest}"),
            };
            screen.clear();
            if !self.base.quiet {
                output::line(&line);
            }
        }
        if dry_run {
            return Ok(());
        }
        let made = self
            .engine
            .make_uv_stand_in(maker, name, &request.recipe, self.index, self.fetcher);
        screen.clear();
        let made = made?;
        let stand_in = &made.stand_in;
        let mut parts = format!("uv {}", stand_in.version);
        if let Some(system) = &stand_in.system {
            let count = system.packages().count();
            parts = format!(
                "{parts} and {count} packages of Debian {} of {}",
                system.suite,
                day(&system.date)
            );
        }
        self.base.tell_made(
            self.engine,
            &made,
            (&stand_in.descriptor, &stand_in.nearest),
            &parts,
        )
    }
}
