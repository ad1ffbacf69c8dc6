//! What a contender is told, and how it answers.

use std::{
    collections::HashMap,
    error::Error,
    fmt::Write as _,
    io::{self, Read, Write as _},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use snaptun::{Identity, PrivateKey};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A role and its parameters, as the runner gives them on the command line.
pub(crate) struct Task {
    role: String,
    values: HashMap<String, String>,
}

impl Task {
    pub(crate) fn from_command_line() -> Result<Self, Failure> {
        let mut arguments = std::env::args().skip(1);
        let role = arguments.next().ok_or("core_bench ROLE name=value…")?;
        let pair = |argument: String| match argument.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(format!("'{argument}' is not name=value")),
        };
        Ok(Self { role, values: arguments.map(pair).collect::<Result<_, _>>()? })
    }

    pub(crate) fn role(&self) -> &str {
        &self.role
    }

    pub(crate) fn text(&self, name: &str) -> Result<&str, Failure> {
        self.values.get(name).map(String::as_str).ok_or_else(|| format!("{name} is missing").into())
    }

    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<T, Failure> {
        // Without the value: it may be a key.
        self.text(name)?.parse().map_err(|_| format!("{name} can't be understood").into())
    }

    pub(crate) fn seconds(&self) -> Result<Duration, Failure> {
        Ok(Duration::try_from_secs_f64(self.parsed("seconds")?)?)
    }

    pub(crate) fn private_key(&self) -> Result<PrivateKey, Failure> {
        Ok(PrivateKey::new(self.key("privateKey")?)?)
    }

    pub(crate) fn identity(&self, name: &str) -> Result<Identity, Failure> {
        Ok(Identity::new(self.key(name)?)?)
    }

    fn key(&self, name: &str) -> Result<[u8; 32], Failure> {
        let text = self.text(name)?;
        let mut key = [0; 32];
        for (at, byte) in key.iter_mut().enumerate() {
            let digits =
                text.get(2 * at..2 * at + 2).ok_or_else(|| format!("{name} is too short"))?;
            *byte =
                u8::from_str_radix(digits, 16).map_err(|_| format!("{name} is not hexadecimal"))?;
        }
        Ok(key)
    }
}

/// A value of a line of JSON.
pub(crate) enum Value {
    Number(f64),
    Numbers(Vec<f64>),
    Text(String),
}

/// Says something to the runner: one object, on one line.
pub(crate) fn say<'n>(fields: impl IntoIterator<Item = (&'n str, Value)>) -> Result<(), Failure> {
    let mut line = String::new();
    for (name, value) in fields {
        line.push(if line.is_empty() { '{' } else { ',' });
        match value {
            Value::Number(number) => write!(line, "\"{name}\":{number}")?,
            Value::Numbers(numbers) => write!(line, "\"{name}\":{numbers:?}")?,
            Value::Text(text) => write!(line, "\"{name}\":{text:?}")?,
        }
    }
    line.push_str("}\n");
    let mut output = io::stdout().lock();
    output.write_all(line.as_bytes())?;
    Ok(output.flush()?)
}

/// Becomes true, and wakes a thread, when standard input ends.
pub(crate) fn told_to_end(wake: Thread) -> Result<Arc<AtomicBool>, Failure> {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut rest = Vec::new();
        // An error is an end too: nobody is there any more.
        let _ = io::stdin().lock().read_to_end(&mut rest);
        flag.store(true, Ordering::Release);
        wake.unpark();
    })?;
    Ok(ended)
}
