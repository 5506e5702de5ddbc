//! What a Python file shows of itself: applications, factories and a main block, by parsing and never importing.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::{Expr, Stmt};
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};

use crate::diagnostic::line_of;

/// The interface that an application object speaks to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Interface {
    /// FastAPI: ASGI, with a program of its own.
    FastApi,
    /// Any other ASGI application.
    Asgi,
    /// Flask: WSGI, with a program of its own.
    Flask,
    /// Any other WSGI application.
    Wsgi,
    /// Made somewhere else: what is installed must tell.
    Unknown,
}

/// An application object at the top of a module, or a function that makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Application {
    /// The name of the variable or the function.
    pub name: String,
    pub interface: Interface,
    /// Whether it has to be called first.
    pub is_factory: bool,
    pub line: usize,
    /// The line's text.
    pub text: String,
}

/// What one file shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    pub applications: Vec<Application>,
    /// The line of `if __name__ == "__main__":`.
    pub main_block: Option<usize>,
    /// Whether anything happens at the top that isn't a definition.
    pub has_statements: bool,
    /// Whether Streamlit is imported.
    pub uses_streamlit: bool,
    /// The first parts of the modules that are imported absolutely.
    pub modules: BTreeSet<String>,
    /// Names imported from other modules, with the line of the import.
    pub imported_names: BTreeMap<String, usize>,
    /// String constants at the top, by name.
    pub constants: BTreeMap<String, String>,
    /// The argument of `os.environ.setdefault("DJANGO_SETTINGS_MODULE", …)`.
    pub django_settings: Option<String>,
}

/// Constructors by their full name.
const CONSTRUCTORS: &[(&str, Interface)] = &[
    ("fastapi.FastAPI", Interface::FastApi),
    ("fastapi.applications.FastAPI", Interface::FastApi),
    ("starlette.applications.Starlette", Interface::Asgi),
    ("litestar.Litestar", Interface::Asgi),
    ("litestar.app.Litestar", Interface::Asgi),
    ("quart.Quart", Interface::Asgi),
    ("blacksheep.Application", Interface::Asgi),
    ("blacksheep.server.Application", Interface::Asgi),
    ("falcon.asgi.App", Interface::Asgi),
    ("django.core.asgi.get_asgi_application", Interface::Asgi),
    ("socketio.ASGIApp", Interface::Asgi),
    ("connexion.AsyncApp", Interface::Asgi),
    ("connexion.FlaskApp", Interface::Asgi),
    ("flask.Flask", Interface::Flask),
    ("flask.app.Flask", Interface::Flask),
    ("apiflask.APIFlask", Interface::Flask),
    ("flask_openapi3.OpenAPI", Interface::Flask),
    ("falcon.App", Interface::Wsgi),
    ("bottle.Bottle", Interface::Wsgi),
    ("bottle.default_app", Interface::Wsgi),
    ("bottle.app", Interface::Wsgi),
    ("django.core.wsgi.get_wsgi_application", Interface::Wsgi),
];

/// Names that make an application of unknown kind when a factory is called so.
const FACTORIES: &[&str] = &[
    "create_app",
    "make_app",
    "get_app",
    "build_app",
    "app_factory",
    "create_application",
];

/// Parses a file; what doesn't parse is passed over, and the rest still counts.
pub(crate) fn scan(source: &str) -> Scan {
    let parsed = parse_unchecked(source, ParseOptions::from(Mode::Module));
    let mut scanner = Scanner {
        source,
        imports: BTreeMap::new(),
        scan: Scan::default(),
    };
    if let ruff_python_ast::Mod::Module(module) = parsed.syntax() {
        scanner.statements(&module.body);
    }
    scanner.scan
}

struct Scanner<'s> {
    source: &'s str,
    /// Local name → full name.
    imports: BTreeMap<String, String>,
    scan: Scan,
}

impl Scanner<'_> {
    fn statements(&mut self, body: &[Stmt]) {
        for statement in body {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Stmt) {
        match statement {
            Stmt::Import(_) | Stmt::ImportFrom(_) => self.import(statement),
            Stmt::Assign(assign) => {
                self.scan.has_statements = true;
                for target in &assign.targets {
                    self.assign(target, &assign.value, usize::from(assign.range.start()));
                }
            }
            Stmt::AnnAssign(assign) => {
                if let Some(value) = &assign.value {
                    self.scan.has_statements = true;
                    self.assign(&assign.target, value, usize::from(assign.range.start()));
                }
            }
            Stmt::FunctionDef(function) => self.function(function),
            Stmt::If(branch) => {
                if is_main_test(&branch.test) {
                    self.scan.main_block = Some(line_of(self.source, usize::from(branch.range.start())));
                    // A settings module is often set in there; an application is not importable from it.
                    let before = self.scan.applications.len();
                    self.statements(&branch.body);
                    self.scan.applications.truncate(before);
                } else {
                    self.statements(&branch.body);
                    for clause in &branch.elif_else_clauses {
                        self.statements(&clause.body);
                    }
                }
            }
            Stmt::Try(attempt) => {
                self.statements(&attempt.body);
                self.statements(&attempt.orelse);
            }
            Stmt::With(with) => self.statements(&with.body),
            Stmt::Expr(expression) => {
                if let Expr::Call(call) = expression.value.as_ref() {
                    self.scan.has_statements = true;
                    self.settings(call);
                }
            }
            Stmt::For(_) | Stmt::While(_) => self.scan.has_statements = true,
            _ => {}
        }
    }

    fn import(&mut self, statement: &Stmt) {
        match statement {
            Stmt::Import(import) => {
                for alias in &import.names {
                    let full = alias.name.as_str();
                    self.scan
                        .modules
                        .insert(full.split('.').next().unwrap_or(full).to_owned());
                    self.scan.uses_streamlit |= full == "streamlit";
                    let (local, meaning) = match &alias.asname {
                        Some(local) => (local.as_str(), full),
                        None => {
                            let first = full.split('.').next().unwrap_or(full);
                            (first, first)
                        }
                    };
                    self.imports.insert(local.to_owned(), meaning.to_owned());
                }
            }
            Stmt::ImportFrom(import) => {
                let line = line_of(self.source, usize::from(import.range.start()));
                for alias in &import.names {
                    let local = alias.asname.as_ref().unwrap_or(&alias.name);
                    self.scan.imported_names.insert(local.to_string(), line);
                }
                let Some(module) = import.module.as_ref().filter(|_| import.level == 0) else {
                    return;
                };
                let first = module.as_str().split('.').next().unwrap_or_default();
                self.scan.modules.insert(first.to_owned());
                self.scan.uses_streamlit |= module.as_str() == "streamlit";
                for alias in &import.names {
                    let local = alias.asname.as_ref().unwrap_or(&alias.name);
                    self.imports.insert(
                        local.to_string(),
                        format!("{}.{}", module.as_str(), alias.name.as_str()),
                    );
                }
            }
            _ => {}
        }
    }

    fn assign(&mut self, target: &Expr, value: &Expr, offset: usize) {
        let Expr::Name(name) = target else {
            if let Expr::Subscript(subscript) = target {
                self.environment_item(subscript, value);
            }
            return;
        };
        let name = name.id.as_str();
        if let Expr::StringLiteral(text) = value {
            self.scan
                .constants
                .insert(name.to_owned(), text.value.to_str().to_owned());
        }
        let known = self.interface_of(value).or_else(|| match value {
            // `app = Flask(…).something()` and `application = app`: look through one step.
            Expr::Name(other) => self
                .scan
                .applications
                .iter()
                .find(|known| !known.is_factory && known.name == other.id.as_str())
                .map(|known| known.interface),
            Expr::Call(call) => self.call_of_factory(&call.func),
            _ => None,
        });
        if let Some(interface) = known {
            self.found(name, interface, false, offset);
        }
    }

    /// `app = create_app()`, where the factory stands in the same file and its kind is known.
    fn call_of_factory(&self, function: &Expr) -> Option<Interface> {
        match function {
            Expr::Name(name) => {
                let name = name.id.as_str();
                let here = self
                    .scan
                    .applications
                    .iter()
                    .find(|known| known.is_factory && known.name == name);
                here.map(|known| known.interface).or_else(|| {
                    let elsewhere = FACTORIES.contains(&name) && self.scan.imported_names.contains_key(name);
                    elsewhere.then_some(Interface::Unknown)
                })
            }
            Expr::Attribute(attribute) if attribute.attr.as_str() == "make_wsgi_app" => Some(Interface::Wsgi),
            _ => None,
        }
    }

    fn function(&mut self, function: &ruff_python_ast::StmtFunctionDef) {
        let name = function.name.as_str();
        // A factory is called without arguments, so all of its parameters need defaults.
        let callable = function
            .parameters
            .iter_non_variadic_params()
            .all(|parameter| parameter.default.is_some());
        let mut inner = Scanner {
            source: self.source,
            imports: self.imports.clone(),
            scan: Scan::default(),
        };
        inner.statements(&function.body);
        let mut interface = None;
        for statement in &function.body {
            if let Stmt::Return(returned) = statement {
                interface = returned.value.as_deref().and_then(|value| match value {
                    Expr::Name(name) => inner
                        .scan
                        .applications
                        .iter()
                        .find(|known| known.name == name.id.as_str())
                        .map(|known| known.interface),
                    other => inner.interface_of(other),
                });
            }
        }
        if interface.is_none()
            && let Some(returns) = &function.returns
        {
            interface = full_name(returns).and_then(|dotted| self.constructor(&dotted));
        }
        let Some(interface) = interface else {
            return;
        };
        if callable
            && !function.is_async
            && (FACTORIES.contains(&name) || name == "app" || name.ends_with("_app"))
        {
            self.found(name, interface, true, usize::from(function.name.range.start()));
        }
    }

    fn found(&mut self, name: &str, interface: Interface, is_factory: bool, offset: usize) {
        let line = line_of(self.source, offset);
        let text = self
            .source
            .lines()
            .nth(line - 1)
            .unwrap_or_default()
            .trim()
            .to_owned();
        self.scan.applications.retain(|known| known.name != name);
        self.scan.applications.push(Application {
            name: name.to_owned(),
            interface,
            is_factory,
            line,
            text,
        });
    }

    fn interface_of(&self, value: &Expr) -> Option<Interface> {
        let Expr::Call(call) = value else {
            return None;
        };
        let dotted = full_name(&call.func)?;
        self.constructor(&dotted)
    }

    fn constructor(&self, dotted: &str) -> Option<Interface> {
        let (first, rest) = match dotted.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (dotted, None),
        };
        let meaning = self.imports.get(first)?;
        let full = match rest {
            Some(rest) => format!("{meaning}.{rest}"),
            None => meaning.clone(),
        };
        CONSTRUCTORS
            .iter()
            .find(|(name, _)| *name == full)
            .map(|(_, interface)| *interface)
    }

    /// `os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site.settings")`, also inside a function.
    fn settings(&mut self, call: &ruff_python_ast::ExprCall) {
        let is_setdefault = full_name(&call.func).is_some_and(|name| name.ends_with("environ.setdefault"));
        if let ([Expr::StringLiteral(key), Expr::StringLiteral(value)], true) =
            (&*call.arguments.args, is_setdefault)
            && key.value.to_str() == "DJANGO_SETTINGS_MODULE"
        {
            self.scan.django_settings = Some(value.value.to_str().to_owned());
        }
    }

    /// `os.environ["DJANGO_SETTINGS_MODULE"] = "site.settings"`.
    fn environment_item(&mut self, subscript: &ruff_python_ast::ExprSubscript, value: &Expr) {
        let is_environment = full_name(&subscript.value).is_some_and(|name| name.ends_with("environ"));
        if let (true, Expr::StringLiteral(key), Expr::StringLiteral(value)) =
            (is_environment, subscript.slice.as_ref(), value)
            && key.value.to_str() == "DJANGO_SETTINGS_MODULE"
        {
            self.scan.django_settings = Some(value.value.to_str().to_owned());
        }
    }
}

/// The settings module that a Django `manage.py` names, wherever in the file.
pub(crate) fn django_settings(source: &str) -> Option<String> {
    let parsed = parse_unchecked(source, ParseOptions::from(Mode::Module));
    let ruff_python_ast::Mod::Module(module) = parsed.syntax() else {
        return None;
    };
    let mut scanner = Scanner {
        source,
        imports: BTreeMap::new(),
        scan: Scan::default(),
    };
    scanner.statements(&module.body);
    for statement in &module.body {
        if let Stmt::FunctionDef(function) = statement {
            scanner.statements(&function.body);
        }
    }
    scanner.scan.django_settings
}

/// `a.b.c` of names and attributes.
fn full_name(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Name(name) => Some(name.id.to_string()),
        Expr::Attribute(attribute) => Some(format!(
            "{}.{}",
            full_name(&attribute.value)?,
            attribute.attr.as_str()
        )),
        _ => None,
    }
}

fn is_main_test(test: &Expr) -> bool {
    let Expr::Compare(compare) = test else {
        return false;
    };
    if *compare.ops != [ruff_python_ast::CmpOp::Eq] {
        return false;
    }
    let [other] = &*compare.comparators else {
        return false;
    };
    let is_name = |side: &Expr| matches!(side, Expr::Name(name) if name.id.as_str() == "__name__");
    let is_main =
        |side: &Expr| matches!(side, Expr::StringLiteral(text) if text.value.to_str() == "__main__");
    (is_name(&compare.left) && is_main(other)) || (is_main(&compare.left) && is_name(other))
}

#[cfg(test)]
#[path = "source_scan_tests.rs"]
mod tests;
