//! The standard library's modules by Python version, and the distributions that bring modules of other names.

/// Modules that every Python from 3.9 on has.
const ALWAYS: &str = "
__future__ _thread abc antigravity argparse array ast asyncio atexit base64 bdb binascii bisect
builtins bz2 cProfile calendar cmath cmd code codecs codeop collections colorsys compileall
concurrent configparser contextlib contextvars copy copyreg csv ctypes curses dataclasses datetime
dbm decimal difflib dis doctest email encodings ensurepip enum errno faulthandler fcntl filecmp
fileinput fnmatch fractions ftplib functools gc genericpath getopt getpass gettext glob graphlib grp
gzip hashlib heapq hmac html http idlelib imaplib importlib inspect io ipaddress itertools json
keyword linecache locale logging lzma mailbox marshal math mimetypes mmap modulefinder msvcrt
multiprocessing netrc nt ntpath nturl2path numbers opcode operator optparse os pathlib pdb pickle
pickletools pkgutil platform plistlib poplib posix posixpath pprint profile pstats pty pwd
py_compile pyclbr pydoc pydoc_data pyexpat queue quopri random re readline reprlib resource
rlcompleter runpy sched secrets select selectors shelve shlex shutil signal site smtplib socket
socketserver sqlite3 sre_compile sre_constants sre_parse ssl stat statistics string stringprep
struct subprocess symtable sys sysconfig syslog tabnanny tarfile tempfile termios textwrap this
threading time timeit tkinter token tokenize tomllib trace traceback tracemalloc tty turtle
turtledemo types typing unicodedata unittest urllib uuid venv warnings wave weakref webbrowser
winreg winsound wsgiref xml xmlrpc zipapp zipfile zipimport zlib zoneinfo
";

/// Modules that were removed, with the minor version that has them no more (PEP 594, PEP 632).
const REMOVED: &[(&str, u32)] = &[
    ("aifc", 13),
    ("asynchat", 12),
    ("asyncore", 12),
    ("audioop", 13),
    ("binhex", 11),
    ("cgi", 13),
    ("cgitb", 13),
    ("chunk", 13),
    ("crypt", 13),
    ("distutils", 12),
    ("imghdr", 13),
    ("imp", 12),
    ("lib2to3", 13),
    ("mailcap", 13),
    ("msilib", 13),
    ("nis", 13),
    ("nntplib", 13),
    ("ossaudiodev", 13),
    ("pipes", 13),
    ("smtpd", 12),
    ("sndhdr", 13),
    ("spwd", 13),
    ("sunau", 13),
    ("telnetlib", 13),
    ("uu", 13),
    ("xdrlib", 13),
];

/// Modules that came, with the minor version that has them first.
const ADDED: &[(&str, u32)] = &[("tomllib", 11), ("annotationlib", 14), ("compression", 14)];

/// Distributions that bring a module under another name than their own.
const DISTRIBUTIONS: &[(&str, &str)] = &[
    ("Crypto", "pycryptodome"),
    ("Cryptodome", "pycryptodomex"),
    ("MySQLdb", "mysqlclient"),
    ("OpenSSL", "pyopenssl"),
    ("PIL", "pillow"),
    ("aifc", "standard-aifc"),
    ("asynchat", "pyasynchat"),
    ("asyncore", "pyasyncore"),
    ("attr", "attrs"),
    ("audioop", "audioop-lts"),
    ("bs4", "beautifulsoup4"),
    ("cairo", "pycairo"),
    ("cgi", "legacy-cgi"),
    ("cgitb", "legacy-cgi"),
    ("chunk", "standard-chunk"),
    ("corsheaders", "django-cors-headers"),
    ("cv2", "opencv-python-headless"),
    ("dateutil", "python-dateutil"),
    ("debug_toolbar", "django-debug-toolbar"),
    ("discord", "discord.py"),
    ("distutils", "setuptools"),
    ("django_filters", "django-filter"),
    ("dns", "dnspython"),
    ("docx", "python-docx"),
    ("dotenv", "python-dotenv"),
    ("environ", "django-environ"),
    ("faiss", "faiss-cpu"),
    ("fitz", "pymupdf"),
    ("flask_sqlalchemy", "flask-sqlalchemy"),
    ("gi", "pygobject"),
    ("git", "gitpython"),
    ("github", "pygithub"),
    ("google.protobuf", "protobuf"),
    ("graphql", "graphql-core"),
    ("grpc", "grpcio"),
    ("imghdr", "standard-imghdr"),
    ("jose", "python-jose"),
    ("jwt", "pyjwt"),
    ("kafka", "kafka-python"),
    ("ldap", "python-ldap"),
    ("magic", "python-magic"),
    ("mailcap", "standard-mailcap"),
    ("markdown", "markdown"),
    ("memcache", "python-memcached"),
    ("multipart", "python-multipart"),
    ("mysql", "mysql-connector-python"),
    ("nacl", "pynacl"),
    ("nntplib", "standard-nntplib"),
    ("oauth2client", "oauth2client"),
    ("pipes", "standard-pipes"),
    ("pkg_resources", "setuptools"),
    ("pptx", "python-pptx"),
    ("psycopg2", "psycopg2-binary"),
    ("pwiz", "peewee"),
    ("pythonjsonlogger", "python-json-logger"),
    ("pytz", "pytz"),
    ("rest_framework", "djangorestframework"),
    ("rest_framework_simplejwt", "djangorestframework-simplejwt"),
    ("serial", "pyserial"),
    ("skimage", "scikit-image"),
    ("sklearn", "scikit-learn"),
    ("slugify", "python-slugify"),
    ("smtpd", "aiosmtpd"),
    ("sndhdr", "standard-sndhdr"),
    ("socketio", "python-socketio"),
    ("socks", "pysocks"),
    ("speech_recognition", "speechrecognition"),
    ("sunau", "standard-sunau"),
    ("telegram", "python-telegram-bot"),
    ("telnetlib", "standard-telnetlib"),
    ("usb", "pyusb"),
    ("uu", "standard-uu"),
    ("websocket", "websocket-client"),
    ("win32api", "pywin32"),
    ("wx", "wxpython"),
    ("xdrlib", "standard-xdrlib"),
    ("yaml", "pyyaml"),
    ("zmq", "pyzmq"),
];

/// Whether a top module is part of the standard library of Python 3.`minor`; what begins with an underscore always counts.
pub fn is_standard(module: &str, minor: u32) -> bool {
    let top = module.split('.').next().unwrap_or(module);
    if let Some((_, until)) = REMOVED.iter().find(|(name, _)| *name == top) {
        return minor < *until;
    }
    if let Some((_, since)) = ADDED.iter().find(|(name, _)| *name == top) {
        return minor >= *since;
    }
    top.starts_with('_') || ALWAYS.split_whitespace().any(|name| name == top)
}

/// The minor version that no longer has a module that the standard library once had.
pub fn removed_in(module: &str) -> Option<u32> {
    let top = module.split('.').next().unwrap_or(module);
    REMOVED
        .iter()
        .find(|(name, _)| *name == top)
        .map(|(_, minor)| *minor)
}

/// The distribution that likely brings a module; for most that is its own name.
pub fn distribution(module: &str) -> String {
    let known = |name: &str| DISTRIBUTIONS.iter().find(|(module, _)| *module == name);
    let top = module.split('.').next().unwrap_or(module);
    if let Some((_, name)) = known(module).or_else(|| known(top)) {
        return (*name).to_owned();
    }
    // Of shared names only the whole one tells: `google.cloud.storage` is in google-cloud-storage.
    let name = match top {
        "google" | "azure" | "zope" => module,
        _ => top,
    };
    name.replace(['.', '_'], "-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_their_distributions() {
        assert!(is_standard("os.path", 13) && is_standard("tomllib", 11) && !is_standard("tomllib", 10));
        assert!(is_standard("telnetlib", 12) && !is_standard("telnetlib", 13) && is_standard("_ssl", 13));
        assert!(!is_standard("yaml", 13));
        for (module, name) in [
            ("yaml", "pyyaml"),
            ("google.cloud.storage", "google-cloud-storage"),
            ("google.protobuf", "protobuf"),
            ("my_module.part", "my-module"),
        ] {
            assert_eq!(distribution(module), name);
        }
        assert!(DISTRIBUTIONS.is_sorted());
    }
}
