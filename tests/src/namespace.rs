//! A network of a gateway's own, with lines that can be cut: a Linux network namespace.

use std::net::Ipv4Addr;
use std::process::Command;

/// A namespace with two lines to the machine it is on, gone when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    number: u8,
}

/// A line into a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// To clients and the upstream.
    Front = 0,
    /// To Redis.
    Back = 1,
}

impl Namespace {
    /// Makes one.
    ///
    /// # Errors
    /// With the reason, where the machine does not allow it: it takes root's rights and iproute2.
    pub fn make() -> Result<Self, String> {
        let process = std::process::id();
        let namespace = Self {
            name: format!("tollgate-{process}"),
            number: (process % 120) as u8,
        };
        ip(&format!("netns add {}", namespace.name))?;
        ip(&format!("-n {} link set lo up", namespace.name))?;
        namespace.lay(Line::Front)?;
        namespace.lay(Line::Back)?;
        Ok(namespace)
    }

    fn lay(&self, line: Line) -> Result<(), String> {
        let (name, outer, inner) = (&self.name, self.device(line, 'o'), self.device(line, 'i'));
        ip(&format!(
            "link add {outer} type veth peer name {inner} netns {name}"
        ))?;
        ip(&format!(
            "address add {}/24 dev {outer}",
            self.outside(line)
        ))?;
        ip(&format!(
            "-n {name} address add {}/24 dev {inner}",
            self.inside(line)
        ))?;
        ip(&format!("-n {name} link set {inner} up"))?;
        ip(&format!("link set {outer} up"))
    }

    fn device(&self, line: Line, side: char) -> String {
        format!("tg{}{side}{}", std::process::id(), line as u8)
    }

    /// The machine's address at a line.
    #[must_use]
    pub const fn outside(&self, line: Line) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, 2 * self.number + line as u8, 1)
    }

    /// The namespace's address at a line.
    #[must_use]
    pub const fn inside(&self, line: Line) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, 2 * self.number + line as u8, 2)
    }

    /// What starts a program in it, to be followed by the program and its arguments; the process stays the same.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let words = ["ip", "netns", "exec", &self.name];
        words.map(str::to_owned).to_vec()
    }

    /// Cuts a line: what is on its way is lost, and nobody is told.
    ///
    /// # Panics
    /// When that is refused.
    pub fn cut(&self, line: Line) {
        ip(&format!("link set {} down", self.device(line, 'o')))
            .expect("a line of ours can be cut");
    }

    /// Mends a line that was cut.
    ///
    /// # Panics
    /// When that is refused.
    pub fn mend(&self, line: Line) {
        ip(&format!("link set {} up", self.device(line, 'o')))
            .expect("a line of ours can be mended");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The lines go with it.
        let _ = ip(&format!("netns delete {}", self.name));
        for line in [Line::Front, Line::Back] {
            // A process that is still there would keep them.
            let _ = ip(&format!("link delete {}", self.device(line, 'o')));
        }
    }
}

/// Runs iproute2.
fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("ip {arguments}: {}", said.trim_end()))
    }
}
