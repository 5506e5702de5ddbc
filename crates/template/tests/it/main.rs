//! Templates as Docker fills them: each case gave the same with `docker ps` or `docker inspect`.

use coil_template::{Mode, Shapes, Template, Value};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

fn container() -> Json {
    json!({
        "Name": "/p4a",
        "State": { "Status": "running", "Running": true, "ExitCode": 0, "Health": null },
        "Config": { "Env": ["PATH=/bin", "LANG=C.UTF-8"], "Labels": { "a": "1", "b": "x=y" }, "Volumes": null },
        "Ports": { "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8099" }] },
        "Mounts": [{ "Destination": "/data", "RW": true }],
        "CapAdd": null,
        "Size": null,
        "LogConfig": { "Type": "json-file", "Config": { "max-size": "1m" } },
    })
}

const SHAPES: Shapes<'_> = Shapes {
    maps: &["Labels", "Volumes", "Ports", "LogConfig.Config"],
    lists: &["CapAdd"],
};

fn typed(text: &str) -> Result<String, String> {
    let template = Template::parse("", text).map_err(|error| error.to_string())?;
    let value = Value::shaped(&container(), &SHAPES);
    template
        .render(&value, Mode::Lenient)
        .map_err(|error| error.to_string())
}

fn untyped(text: &str) -> Result<String, String> {
    let template = Template::parse("", text).map_err(|error| error.to_string())?;
    template
        .render(&Value::untyped(&container()), Mode::Strict)
        .map_err(|error| error.to_string())
}

fn row() -> Value {
    let mut row = Value::row(
        "*formatter.ContainerContext",
        &serde_json::json!({ "ID": "98fa83154963", "Names": "p4b", "Labels": "a=1,b=x=y", "Ports": "0->80/tcp" }),
    );
    if let Value::Object(object) = &mut row {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        object.fields.push(("Label".to_owned(), Value::Lookup(labels)));
    }
    row
}

fn listed(text: &str) -> Result<String, String> {
    let template = Template::parse("", text).map_err(|error| error.to_string())?;
    template
        .render(&row(), Mode::Lenient)
        .map_err(|error| error.to_string())
}

#[test]
fn objects_are_asked_for_their_fields() {
    for (text, shown) in [
        ("{{.Name}} {{.State.ExitCode}}", "/p4a 0"),
        ("{{.Config.Labels}}", "map[a:1 b:x=y]"),
        (
            "{{.Config.Labels.a}} {{index .Config.Labels \"b\"}} {{index .Config.Labels \"zz\"}}|{{.Config.Labels.zz}}",
            "1 x=y |<no value>",
        ),
        ("{{.Config.Env}}", "[PATH=/bin LANG=C.UTF-8]"),
        ("{{json .Config.Env}}", "[\"PATH=/bin\",\"LANG=C.UTF-8\"]"),
        ("{{.State}}", "{running true 0 <nil>}"),
        (
            "{{printf \"%+v\" .State}}",
            "{Status:running Running:true ExitCode:0 Health:<nil>}",
        ),
        (
            "{{.State.Health}} {{.Size}} {{.CapAdd}} {{.Config.Volumes}}",
            "<nil> <nil> [] map[]",
        ),
        (
            "{{.LogConfig}} {{index .LogConfig.Config \"none\"}}",
            "{json-file map[max-size:1m]} ",
        ),
        (
            "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}",
            "none",
        ),
        (
            "{{range $p, $conf := .Ports}} {{$p}} -> {{(index $conf 0).HostPort}} {{end}}",
            " 80/tcp -> 8099 ",
        ),
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8099"),
        (
            "{{len .Mounts}} {{range .Mounts}}{{.Destination}}:{{.RW}}{{end}}",
            "1 /data:true",
        ),
        (
            "{{eq .State.ExitCode 0}} {{ge .State.ExitCode 1}} {{eq .State.Status \"running\"}}",
            "true false true",
        ),
        (
            "{{.State.Running}} {{not .State.Running}} {{and .State.Running (eq .State.ExitCode 0)}}",
            "true false true",
        ),
        ("{{or .State.Health \"no health\"}}", "no health"),
        (
            "{{range $i, $e := .Config.Env}}{{if $i}}, {{end}}{{$e}}{{end}}",
            "PATH=/bin, LANG=C.UTF-8",
        ),
        (
            "{{$n := .Name}}{{range .Mounts}}{{$n}}{{$.Name}}{{end}}",
            "/p4a/p4a",
        ),
        ("{{$n := 1}}{{range .Config.Env}}{{$n = 2}}{{end}}{{$n}}", "2"),
        ("{{with .State}}{{.Status}}{{else}}x{{end}}", "running"),
        ("{{with .State.Health}}x{{else with .Name}}{{.}}{{end}}", "/p4a"),
        ("{{join .Config.Env \",\"}}", "PATH=/bin,LANG=C.UTF-8"),
        (
            "{{range $i := .Config.Env}}{{$i}};{{end}}",
            "PATH=/bin;LANG=C.UTF-8;",
        ),
        ("{{range 3}}x{{.}}{{end}}", "x0x1x2"),
        ("{{range .Nothing}}x{{else}}none{{end}}", ""),
        (
            "{{.State.ExitCode | json}} {{json .State}}",
            "0 {\"Status\":\"running\",\"Running\":true,\"ExitCode\":0,\"Health\":null}",
        ),
        ("{{slice .Name 1 3}} {{slice .Config.Env 1}}", "p4 [LANG=C.UTF-8]"),
    ] {
        let found = typed(text);
        if shown.is_empty() {
            assert!(found.is_err(), "{text}: {found:?}");
        } else {
            assert_eq!(found.as_deref(), Ok(shown), "{text}");
        }
    }
}

#[test]
fn functions_give_what_dockers_give() {
    for (text, shown) in [
        (
            "{{upper .Names}} {{title .Names}} {{lower \"ABC\"}}",
            "P4B P4b abc",
        ),
        (
            "{{pad .Names 1 2}}| {{truncate .ID 3}} {{split .Names \"4\"}} {{join (split .Names \"4\") \"-\"}}",
            " p4b  | 98f [p b] p-b",
        ),
        ("{{.Names}} {{.Label \"a\"}}|{{.Label \"none\"}}", "p4b 1|"),
        (
            "{{if eq .Names \"p4a\"}}yes{{else if eq .Names \"p4b\"}}b{{else}}no{{end}}",
            "b",
        ),
        ("{{println .Names}}", "p4b\n"),
        ("{{print 1 2 \"a\" \"b\" 3}}", "1 2ab3"),
        (
            "{{printf \"%-10s|%5s|%q|%v|%T|%d\" .Names .ID .Names .ID .ID 3}}",
            "p4b       |98fa83154963|\"p4b\"|98fa83154963|string|3",
        ),
        (
            "{{printf \"%d\" .Names}} {{printf \"%d\"}} {{printf \"x\" 1}} {{printf \"%\"}}",
            "%!d(string=p4b) %!d(MISSING) x%!(EXTRA int=1) %!(NOVERB)",
        ),
        (
            "{{printf \"%.3f|%05d|%x|%X|%+d|%t|%6.2f|%-4d|%e\" 1.5 42 255 \"hi\" 7 true 3.14159 5 1234.5}}",
            "1.500|00042|ff|6869|+7|true|  3.14|5   |1.234500e+03",
        ),
        (
            "{{printf \"%*d|%c|%U|%o|%#x|%b\" 5 42 65 65 8 255 5}}",
            "   42|A|U+0041|10|0xff|101",
        ),
        (
            "{{range (split .Labels \",\")}}<{{.}}>{{else}}none{{end}}",
            "<a=1><b=x=y>",
        ),
        (
            "{{range (split \"a,b,c\" \",\")}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}",
            "ac",
        ),
        (
            "{{range (split \"a,b,c\" \",\")}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}",
            "a",
        ),
        ("x{{/* a comment */}}y", "xy"),
        ("a  {{- /* trimmed */ -}}  b", "ab"),
        ("{{- .ID -}}  x", "98fa83154963x"),
        ("{{.Names | upper | printf \"%s!\"}}", "P4B!"),
        (
            "{{html \"<a>\"}} {{urlquery \"a b&c\"}} {{js \"it's\"}}",
            "&lt;a&gt; a+b%26c it\\'s",
        ),
        (
            "{{1.5}} {{'a'}} {{`raw`}} {{0x10}} {{1e3}} {{\"t\\tab\"}} {{true}}",
            "1.5 97 raw 16 1000 t\tab true",
        ),
        (
            "{{lt 1 2}} {{le 2 2}} {{ne 1 2}} {{eq 1 2 1}} {{lt \"a\" \"b\"}}",
            "true true true true true",
        ),
        (
            "{{define \"x\"}}T{{.}}{{end}}{{template \"x\" .ID}}",
            "T98fa83154963",
        ),
        ("{{block \"y\" .ID}}B{{.}}{{end}}", "B98fa83154963"),
        (
            "{{json .}}",
            "{\"ID\":\"98fa83154963\",\"Labels\":\"a=1,b=x=y\",\"Names\":\"p4b\",\"Ports\":\"0-\\u003e80/tcp\"}",
        ),
        ("{{json .Ports}}", "\"0->80/tcp\""),
        ("{{len .ID}} {{index .ID 0}}", "12 57"),
    ] {
        assert_eq!(listed(text).as_deref(), Ok(shown), "{text}");
    }
}

#[test]
fn what_is_no_template_is_told_in_dockers_words() {
    for (text, message) in [
        ("{{.ID", "template: :1: unclosed action"),
        ("{{ID}}", "template: :1: function \"ID\" not defined"),
        ("{{foo .ID}}", "template: :1: function \"foo\" not defined"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{if .ID}}", "template: :1: unexpected EOF"),
        ("{{.ID}}{{else}}", "template: :1: unexpected {{else}}"),
        ("{{$x}}", "template: :1: undefined variable \"$x\""),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
        ("{{if}}{{end}}", "template: :1: missing value for if"),
        ("a\n{{\"a\n\"}}", "template: :2: unterminated quoted string"),
        ("{{.Name}", "template: :1: bad character U+007D '}'"),
        ("{{.", "template: :1: bad number syntax: \".\""),
        ("{{/* x }}", "template: :1: unclosed comment"),
        ("{{(1}}", "template: :1: unclosed left paren"),
        (
            "{{.ID | 3}}",
            "template: :1: non executable command in pipeline stage 2",
        ),
    ] {
        assert_eq!(typed(text), Err(message.to_owned()), "{text}");
    }
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(typed(&deep).is_err());
    let deep = "{{if 1}}".repeat(5000);
    assert!(typed(&deep).is_err());
}

#[test]
fn what_is_not_there_is_told_in_dockers_words() {
    let at = |place: &str, text: &str| format!("template: :1:{place}: executing \"\" at <{text}");
    for (text, message) in [
        ("{{.Foo}}", at("2", ".Foo>: map has no entry for key \"Foo\"")),
        (
            "{{.State.Foo}}",
            at("8", ".State.Foo>: map has no entry for key \"Foo\""),
        ),
        (
            "{{.Name.Foo}}",
            at("7", ".Name.Foo>: can't evaluate field Foo in type interface {}"),
        ),
        (
            "{{(index (index .Ports \"81/tcp\") 0).HostPort}}",
            at(
                "3",
                "index (index .Ports \"81/tcp\") 0>: error calling index: index of untyped nil",
            ),
        ),
        (
            "{{index .Config.Env 9}}",
            at(
                "2",
                "index .Config.Env 9>: error calling index: index out of range: 9",
            ),
        ),
        (
            "{{lower .State.ExitCode}}",
            at(
                "14",
                ".State.ExitCode>: wrong type for value; expected string; got json.Number",
            ),
        ),
        (
            "{{eq .State.ExitCode 0}}",
            at(
                "2",
                "eq .State.ExitCode 0>: error calling eq: incompatible types for comparison",
            ),
        ),
        (
            "{{call .Name}}",
            at(
                "2",
                "call .Name>: error calling call: non-function .Name of type string",
            ),
        ),
        ("{{len 3}}", at("2", "len 3>: error calling len: len of type int")),
        (
            "{{.Name \"x\"}}",
            at("2", ".Name>: Name is not a method but has arguments"),
        ),
        ("{{nil}}", at("2", "nil>: nil is not a command")),
        (
            "{{template \"x\"}}",
            at("11", "{{template \"x\"}}>: template \"x\" not defined"),
        ),
    ] {
        assert_eq!(untyped(text), Err(message), "{text}");
    }
    assert_eq!(
        listed("{{.Foo}}"),
        Err(at(
            "2",
            ".Foo>: can't evaluate field Foo in type *formatter.ContainerContext"
        ))
    );
    assert_eq!(
        listed("{{.Label}}"),
        Err(at("2", ".Label>: wrong number of args for Label: want 1 got 0"))
    );
    assert!(typed("{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}").is_err());
}

#[test]
fn heads_are_the_fields_names() {
    let template = Template::parse(
        "",
        "{{.Names}}|{{upper .ID}}|{{.Label \"com.acme.my-label\"}}|{{.Nothing}}",
    )
    .expect("a template");
    let heads = BTreeMap::from([
        ("Names".to_owned(), Value::from("NAMES")),
        ("ID".to_owned(), Value::from("CONTAINER ID")),
        ("Label".to_owned(), Value::Lookup(BTreeMap::new())),
    ]);
    assert_eq!(
        template.render(&Value::Map(heads), Mode::Head).as_deref(),
        Ok("NAMES|CONTAINER ID|my label|<no value>")
    );
}

#[test]
fn it_is_known_which_fields_are_asked_for() {
    let asks = |text: &str| Template::parse("", text).expect("a template").asks_for("Size");
    assert!(asks("{{.Size}}") && asks("{{json .}}") && asks("{{if .ID}}{{upper .Size}}{{end}}"));
    assert!(!asks("{{.ID}} {{.Names | upper}}"));
}
