//! Tera templates, loaded once at start, and the HTTP answer with a rendered page.

use std::sync::Arc;

use actix_web::{HttpResponse, web::Data};
use rust_embed::RustEmbed;
use serde::Serialize;
use tera::{Context, Kwargs, State, Tera, TeraResult};

use super::{assets, error::WebError, format};

#[derive(RustEmbed)]
#[folder = "templates/"]
struct Files;

/// All pages and components, shared by the HTTP workers and the broadcaster.
#[derive(Clone)]
pub struct Templates(Arc<Tera>);

/// Why the embedded templates cannot be used. The build is wrong then, and no page would work.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("template `{0}` is not UTF-8")]
    NotUtf8(String),
    #[error("the templates do not compile")]
    Broken(#[source] Box<tera::Error>),
}

impl Templates {
    /// Compiles all embedded templates.
    ///
    /// # Errors
    /// [`TemplateError`], only when the build itself is wrong.
    pub fn load() -> Result<Self, TemplateError> {
        let mut tera = Tera::default();
        format::register(&mut tera);
        tera.register_function("asset", |kwargs: Kwargs, _: &State| -> TeraResult<String> {
            Ok(assets::address(kwargs.must_get::<&str>("name")?))
        });
        let mut files = Vec::new();
        for name in Files::iter().filter(|name| name.ends_with(".html")) {
            let Some(file) = Files::get(&name) else { continue };
            let text = String::from_utf8(file.data.into_owned());
            files.push((name.to_string(), text.map_err(|_| TemplateError::NotUtf8(name.to_string()))?));
        }
        tera.add_raw_templates(files).map_err(|error| TemplateError::Broken(Box::new(error)))?;
        Ok(Self(Arc::new(tera)))
    }

    /// Renders a whole page from its view.
    ///
    /// # Errors
    /// `tera::Error` when the template does not fit the view.
    pub fn page(&self, name: &str, view: &impl Serialize) -> Result<String, tera::Error> {
        self.0.render(name, &Context::from_serialize(view)?)
    }

    /// Renders a page. The template reads the frame as `frame`, beside the fields of the view.
    ///
    /// # Errors
    /// `tera::Error` when the template does not fit the view.
    pub fn page_in_frame(
        &self,
        name: &str,
        view: &impl Serialize,
        frame: &impl Serialize,
    ) -> Result<String, tera::Error> {
        let mut context = Context::from_serialize(view)?;
        context.insert("frame", frame);
        self.0.render(name, &context)
    }

    /// Renders one component, for a page or for a live frame.
    ///
    /// # Errors
    /// `tera::Error` when the component does not fit the view.
    pub fn part(&self, component: &str, argument: &str, view: &impl Serialize) -> Result<String, tera::Error> {
        let mut context = Context::new();
        context.insert(argument.to_owned(), view);
        self.0.render_component(component, &context, None, true)
    }
}

/// Answers with the page `name`.
///
/// # Errors
/// [`WebError::Ours`] when the template does not fit the view.
pub fn page(templates: &Data<Templates>, name: &str, view: &impl Serialize) -> Result<HttpResponse, WebError> {
    let html = templates.page(name, view)?;
    Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(html))
}
