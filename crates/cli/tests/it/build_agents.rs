//! Keys of an agent in build steps: they can be used, and never had.

use std::fs;
use std::process::Command;

use coil_testkit::Context;

use crate::shared;

const PYTHON: &str = "python:3.11-slim";
/// Asks the agent for the names of its keys.
const ASK: &str = "import os,socket,stat,struct
path=os.environ['SSH_AUTH_SOCK']; s=socket.socket(socket.AF_UNIX); s.connect(path)
s.sendall(struct.pack('>IB',1,11)); n=struct.unpack('>I',s.recv(4,socket.MSG_WAITALL))[0]
reply=s.recv(n,socket.MSG_WAITALL); st=os.stat(path)
print('SOCKET',path,oct(st.st_mode&0o777),st.st_uid,st.st_gid,'KEYS',struct.unpack('>I',reply[1:5])[0],b'my-key' in reply)
";

fn key(context: &Context, name: &str, passphrase: &str) -> String {
    let path = context.path().join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-C", "my-key", "-N", passphrase, "-f"])
        .arg(&path)
        .status()
        .expect("ssh-keygen runs");
    assert!(made.success());
    path.display().to_string()
}

#[test]
fn steps_use_an_agents_keys_and_nothing_of_it_is_kept() {
    let context = shared();
    context.coil(["base", PYTHON]).run().success();
    let key_file = key(&context, "id", "");
    let folder = context.project(
        "agent",
        &[
            ("ask.py", ASK),
            (
                "Dockerfile",
                "FROM python:3.11-slim\nCOPY ask.py /\nRUN --mount=type=ssh python3 /ask.py\n\
                 RUN --mount=type=ssh,id=other,target=/tmp/agent,mode=0666,uid=7,gid=8,required=true python3 /ask.py\n\
                 RUN --mount=type=ssh,id=absent test ! -e \"$SSH_AUTH_SOCK\"\n",
            ),
        ],
    );
    let archive = context.path().join("agent.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let default = format!("default={key_file}");
    let other = format!("other={key_file}");
    let built = context
        .coil([
            "build",
            "--no-cache",
            "--ssh",
            &default,
            "--ssh",
            &other,
            "-o",
            &output,
        ])
        .arg(&folder)
        .run()
        .success();
    for line in [
        "SOCKET /run/buildkit/ssh_agent.0 0o600 0 0 KEYS 1 True",
        "SOCKET /tmp/agent 0o666 7 8 KEYS 1 True",
    ] {
        assert!(built.stderr().contains(line), "{line}: {}", built.stderr());
    }
    let image = coil_testkit::image::Layout::unpack(&archive, &context.path().join("agent-layout")).image();
    let files = image.files();
    assert!(
        !files
            .keys()
            .any(|path| path.contains("buildkit") || path == "tmp/agent"),
        "{files:?}"
    );
    // What it was made with is no part of it: found again without a key.
    let again = context.coil(["build"]).arg(&folder).run();
    assert!(again.stderr().contains("unset ssh forward key other") || again.code() == 0);
    let text = "FROM python:3.11-slim\nRUN --mount=type=ssh,required=true true && echo never-made\n";
    fs::write(folder.join("Dockerfile"), text).unwrap();
    context
        .coil(["build"])
        .arg(&folder)
        .run()
        .refusal(&["unset ssh forward key default", "--ssh default"]);
    let locked = key(&context, "locked", "secret-phrase");
    for (flag, words) in [
        (format!("default={locked}"), ["cannot be used", "locked"]),
        (
            "default=/no/such/key".to_owned(),
            ["/no/such/key", "No such file"],
        ),
        ("default".to_owned(), ["SSH_AUTH_SOCK is not set", "ssh-agent"]),
    ] {
        context
            .coil(["build", "--ssh", &flag])
            .arg(&folder)
            .env_remove("SSH_AUTH_SOCK")
            .run()
            .refusal(&words);
    }
}
