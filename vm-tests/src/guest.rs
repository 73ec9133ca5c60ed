//! A machine without a disk: QEMU, its firmware, and a serial console to drive it by.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use oneroot_testkit::{Lab, patient};
use tempfile::NamedTempFile;

use crate::cable::Cable;

/// Enough for Debian and its overlay.
const MEMORY: u32 = 512;
/// From power on to the login prompt: 65 s on two idle cores, where the CPU is emulated. CI's are not idle.
const BOOT: Duration = Duration::from_secs(400);
/// A command at the prompt.
const COMMAND: Duration = Duration::from_secs(90);
/// How Linux begins to say that it has stopped, and how it ends (kernel/panic.c).
const PANIC: &str = "Kernel panic - not syncing";
const PANIC_ENDS: &str = "---[ end Kernel panic";
/// Lines of a console that are shown of it: a trace of the stack has some thirty.
const PANIC_LINES: usize = 60;

#[derive(Default)]
struct Console {
    text: Mutex<String>,
    grown: Condvar,
}

/// A running machine. Its console's log is shown when the test fails; it is killed when dropped.
pub struct Guest {
    name: String,
    process: Child,
    keyboard: ChildStdin,
    console: Arc<Console>,
    readers: Vec<JoinHandle<()>>,
    /// What has been waited for lies before this place.
    read: usize,
    commands: u32,
    /// What QEMU reads or writes for as long as the machine runs: a firmware's variables, a script.
    _file: Option<NamedTempFile>,
}

/// What a machine boots by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS, with iPXE in the NIC's ROM.
    Bios,
    /// OVMF, with edk2's own PXE client: the NIC has no ROM.
    UefiPxe,
    /// OVMF, which asks for nothing but HTTP.
    UefiHttp,
    /// An arm64 machine's AAVMF, which is edk2 too, by TFTP.
    Arm64Pxe,
    /// The same by HTTP.
    Arm64Http,
}

impl Firmware {
    fn is_arm64(self) -> bool {
        matches!(self, Self::Arm64Pxe | Self::Arm64Http)
    }

    fn is_http(self) -> bool {
        matches!(self, Self::UefiHttp | Self::Arm64Http)
    }

    /// edk2's code and its variables.
    fn edk2(self) -> [&'static str; 2] {
        if self.is_arm64() { [AAVMF_CODE, AAVMF_VARIABLES] } else { [OVMF_CODE, OVMF_VARIABLES] }
    }
}

const AAVMF_CODE: &str = "/usr/share/AAVMF/AAVMF_CODE.fd";
const AAVMF_VARIABLES: &str = "/usr/share/AAVMF/AAVMF_VARS.fd";

const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// iPXE as a kernel, which runs the script that is its initrd (Debian's package ipxe).
const IPXE: &str = "/usr/lib/ipxe/ipxe.lkrn";

/// A machine before it is switched on.
pub struct Hardware {
    name: String,
    firmware: Firmware,
    /// Last bytes of its NICs' MACs.
    nics: Vec<String>,
    /// Place of the NIC that it boots from.
    boots_from: usize,
    /// QEMU's name of their kind.
    model: String,
    /// MiB.
    memory: u32,
    /// Images of disks that it can read.
    disks: Vec<PathBuf>,
    /// What iPXE runs in place of its own way to boot.
    script: Option<String>,
    /// What its SMBIOS says that it is, and who made it: words of QEMU's `-smbios type=1`.
    smbios: Vec<String>,
    /// The cable of the NIC that it boots from, where that is not a port of the switch itself: QEMU's words for it.
    cable: Option<String>,
}

impl Hardware {
    /// A BIOS machine with one NIC, MAC `52:54:00:00:00:LAST`, or as many bytes of it as `last` has.
    #[must_use]
    pub fn new(name: &str, last: &str) -> Self {
        let nics = vec![last.to_owned()];
        let (name, disks) = (name.to_owned(), Vec::new());
        Self {
            name,
            firmware: Firmware::Bios,
            nics,
            boots_from: 0,
            model: "virtio-net-pci".to_owned(),
            memory: MEMORY,
            disks,
            script: None,
            smbios: Vec::new(),
            cable: None,
        }
    }

    /// With another firmware.
    #[must_use]
    pub fn firmware(mut self, firmware: Firmware) -> Self {
        self.firmware = firmware;
        self
    }

    /// With one more NIC.
    #[must_use]
    pub fn nic(mut self, last: &str) -> Self {
        self.nics.push(last.to_owned());
        self
    }

    /// With one more NIC, before those that it has and so before the one that it boots from.
    #[must_use]
    pub fn nic_before(mut self, last: &str) -> Self {
        self.nics.insert(0, last.to_owned());
        self.boots_from += 1;
        self
    }

    /// With NICs of another kind than virtio: `e1000e`, `rtl8139`, `vmxnet3`.
    #[must_use]
    pub fn model(mut self, model: &str) -> Self {
        model.clone_into(&mut self.model);
        self
    }

    /// With so many MiB of memory.
    #[must_use]
    pub fn memory(mut self, memory: u32) -> Self {
        self.memory = memory;
        self
    }

    /// With one more disk, `/dev/vda` and so on, which it can only read.
    #[must_use]
    pub fn disk(mut self, image: PathBuf) -> Self {
        self.disks.push(image);
        self
    }

    /// With an iPXE that runs this script.
    #[must_use]
    pub fn script(mut self, script: &str) -> Self {
        self.script = Some(script.to_owned());
        self
    }

    /// With an SMBIOS that says that it is this product.
    #[must_use]
    pub fn product(mut self, product: &str) -> Self {
        self.smbios.push(format!("product={product}"));
        self
    }

    /// With an SMBIOS that says that this one made it, and no hypervisor.
    #[must_use]
    pub fn maker(mut self, maker: &str) -> Self {
        self.smbios.push(format!("manufacturer={maker}"));
        self
    }

    /// With the NIC that it boots from on this cable.
    #[must_use]
    pub fn on(mut self, cable: &Cable) -> Self {
        self.cable = Some(cable.netdev());
        self
    }

    /// What a machine has but for NICs and firmware.
    fn fit(&self, command: &mut Command) {
        command.arg("-m").arg(self.memory.to_string());
        if !self.smbios.is_empty() {
            command.arg("-smbios").arg(format!("type=1,{}", self.smbios.join(",")));
        }
        for (number, image) in self.disks.iter().enumerate() {
            let drive = format!("if=none,id=d{number},format=raw,readonly=on,file={}", image.display());
            // Behind every NIC: OVMF boots only what has a place in QEMU's order.
            let device = format!("virtio-blk-pci,drive=d{number},bootindex={}", number + 100);
            command.arg("-drive").arg(drive).arg("-device").arg(device);
        }
    }

    /// Switches it on, each NIC on a port of the lab.
    pub fn power_on(self, lab: &Lab) -> Result<Guest> {
        let mut command = if self.firmware.is_arm64() {
            let mut command = Command::new("qemu-system-aarch64");
            command.args(["-machine", "virt", "-cpu", "cortex-a57"]);
            command
        } else {
            Command::new("qemu-system-x86_64")
        };
        // TCG always: on some hosts a nested KVM hangs in 16-bit firmware code.
        command.args(["-accel", "tcg,thread=multi", "-nographic", "-device", "virtio-rng-pci"]);
        self.fit(&mut command);
        for (number, last) in self.nics.iter().enumerate() {
            let rom = if self.firmware == Firmware::Bios { "" } else { ",romfile=" };
            let id = format!("n{number}");
            let captures = std::env::var_os("ONEROOT_CAPTURES").map(PathBuf::from);
            // With offloads, QEMU would write ten bytes of its own before each frame.
            let plain = if captures.is_some() { ",vnet_hdr=off" } else { "" };
            command.arg("-netdev").arg(match &self.cable {
                Some(cable) if number == self.boots_from => format!("{cable},id={id}"),
                _ => format!("tap,id={id},ifname={},script=no,downscript=no{plain}", lab.port()?),
            });
            let model = &self.model;
            let order = if number == self.boots_from { 1 } else { number + 2 };
            command
                .arg("-device")
                .arg(format!("{model},netdev={id},mac={},bootindex={order}{rom}", mac(last)));
            if let Some(captures) = captures {
                let started = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
                let file = captures.join(format!("{:?}-{last}-{started}.pcap", self.firmware).to_lowercase());
                command
                    .arg("-object")
                    .arg(format!("filter-dump,id=f{id},netdev={id},file={}", file.display()));
            }
        }
        let mut file = None;
        if let Some(script) = &self.script {
            let mut written = tempfile::NamedTempFile::new()?;
            written.write_all(script.as_bytes())?;
            command.args(["-kernel", IPXE, "-initrd"]).arg(written.path());
            file = Some(written);
        }
        if self.firmware != Firmware::Bios {
            // The firmware writes its variables: each machine has a copy of its own.
            let copy = tempfile::NamedTempFile::new()?;
            let [code, variables] = self.firmware.edk2();
            std::fs::copy(variables, copy.path()).with_context(|| format!("cannot copy {variables}"))?;
            let path = copy.path().display();
            command.arg("-drive").arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"));
            command.arg("-drive").arg(format!("if=pflash,format=raw,unit=1,file={path}"));
            for (setting, off) in
                [("IPv6PXESupport", true), ("IPv6Support", true), ("IPv4PXESupport", self.firmware.is_http())]
            {
                if off {
                    command.arg("-fw_cfg").arg(format!("name=opt/org.tianocore/{setting},string=no"));
                }
            }
            file = Some(copy);
        }
        Guest::start(self.name, command, file)
    }
}

/// A whole MAC, of its last bytes.
fn mac(last: &str) -> String {
    const FIRST: &str = "52:54:00:00:00:00";
    let first = FIRST.get(..FIRST.len().saturating_sub(last.len())).unwrap_or_default();
    format!("{first}{last}")
}

impl Guest {
    /// Switches a BIOS machine with one NIC on: MAC `52:54:00:00:00:LAST`.
    pub fn power_on(lab: &Lab, name: &str, last: &str) -> Result<Self> {
        Hardware::new(name, last).power_on(lab)
    }

    pub(crate) fn start(name: String, mut command: Command, file: Option<NamedTempFile>) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().context("cannot start QEMU")?;
        let keyboard = process.stdin.take().context("QEMU has no stdin")?;
        let console = Arc::new(Console::default());
        let mut readers = Vec::new();
        for mut pipe in [
            process.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>),
            process.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>),
        ]
        .into_iter()
        .flatten()
        {
            let console = console.clone();
            readers.push(std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = pipe.read(&mut bytes) {
                    let text = String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()).into_owned();
                    console.text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
                    console.grown.notify_all();
                }
            }));
        }
        Ok(Self { name, process, keyboard, console, readers, read: 0, commands: 0, _file: file })
    }

    /// Waits until the console says `text`, and gives what it said up to there since the last wait.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String> {
        let (begun, limit) = (Instant::now(), patient(limit));
        let mut said = self.console.text.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let rest = said.get(self.read..).unwrap_or_default();
            if let Some(place) = rest.find(text) {
                let end = place + text.len();
                let before = rest.get(..place).unwrap_or_default().to_owned();
                self.read += end;
                return Ok(before);
            }
            if let Some(last) = panicked(rest) {
                bail!("{} did not say {text:?}, and its kernel has stopped:\n{last}", self.name);
            }
            let left = limit.checked_sub(begun.elapsed());
            let Some(left) = left else { bail!("{} did not say {text:?} within {limit:?}", self.name) };
            said = self
                .console
                .grown
                .wait_timeout(said, left.min(Duration::from_secs(1)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        self.keyboard.write_all(line.as_bytes())?;
        self.keyboard.write_all(b"\n")?;
        Ok(self.keyboard.flush()?)
    }

    /// Waits for the login prompt.
    pub fn wait_for_login(&mut self) -> Result<()> {
        self.wait_for(" login: ", BOOT).map(drop)
    }

    /// Waits for the prompt, logs in as root, and makes the shell a plain one.
    pub fn log_in(&mut self) -> Result<()> {
        self.wait_for_login()?;
        self.log_in_at_prompt()
    }

    /// Logs in at a prompt that is there already.
    pub fn log_in_at_prompt(&mut self) -> Result<()> {
        self.log_in_as("root", "root", "# ")
    }

    /// The same as anybody, whose shell then says `prompt`.
    pub fn log_in_as(&mut self, user: &str, password: &str, prompt: &str) -> Result<()> {
        self.type_line(user)?;
        // In English, and in German.
        self.wait_for("Passwor", COMMAND)?;
        self.wait_for(": ", COMMAND)?;
        self.type_line(password)?;
        self.plain_shell(prompt)
    }

    /// Logs out, and waits for the next prompt.
    pub fn log_out(&mut self) -> Result<()> {
        self.type_line("exit")?;
        self.wait_for_login()
    }

    /// Waits for root's shell on a machine that asks for no password.
    pub fn wait_for_shell(&mut self) -> Result<()> {
        self.wait_for("root@", BOOT)?;
        self.plain_shell("# ")
    }

    fn plain_shell(&mut self, prompt: &str) -> Result<()> {
        self.wait_for(prompt, COMMAND)?;
        // dash does not edit lines, and with no echo and no kernel messages only output is on the console. Of the messages root alone
        // can say so; who logs in after root has it so.
        self.type_line("exec sh")?;
        self.type_line("stty -echo; dmesg -n 1; PS1=; echo REA''DY")?;
        self.wait_for("READY\r\n", COMMAND).map(drop)
    }

    /// Runs a command as root; its exit code and what it printed.
    pub fn run(&mut self, command: &str) -> Result<(i32, String)> {
        self.run_for(command, COMMAND)
    }

    /// Runs a command that may take longer.
    pub fn run_for(&mut self, command: &str, limit: Duration) -> Result<(i32, String)> {
        self.commands += 1;
        let mark = format!("DONE-{}-", self.commands);
        // The mark is typed in two halves: should the line be echoed after all, it is not taken for the answer.
        let (head, tail) = mark.split_at(4);
        self.type_line(&format!("{command}\ncode=$?; echo; echo {head}''{tail}$code"))?;
        let said = self.wait_for(&mark, limit).with_context(|| format!("in `{command}`"))?;
        let code = self.wait_for("\n", COMMAND)?;
        let code = code.trim().parse().with_context(|| format!("exit code {code:?} of `{command}`"))?;
        Ok((code, said.replace('\r', "").trim().to_owned()))
    }

    /// Runs a command that must succeed; what it printed.
    pub fn ok(&mut self, command: &str) -> Result<String> {
        match self.run(command)? {
            (0, said) => Ok(said),
            (code, said) => bail!("{}: `{command}` ended with {code}: {said}", self.name),
        }
    }

    /// Runs a command that must fail; what it printed.
    pub fn fails(&mut self, command: &str) -> Result<String> {
        match self.run(command)? {
            (0, said) => bail!("{}: `{command}` should have failed; it said: {said}", self.name),
            (_, said) => Ok(said),
        }
    }

    /// Waits until systemd has started everything. How that ended is the case's to look at.
    pub fn wait_until_settled(&mut self) {
        // `degraded` is an exit code too; what failed is shown by `systemctl --failed`.
        let _ = self.run_for("systemctl is-system-running --wait", BOOT);
    }

    /// Time that QEMU has run on the host's processors so far.
    pub fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(self.process.id())
    }

    /// Waits until the machine has switched itself off.
    pub fn wait_for_power_off(&mut self, limit: Duration) -> Result<()> {
        let (begun, limit) = (Instant::now(), patient(limit));
        while self.process.try_wait()?.is_none() {
            if let Some(last) = self.log().get(self.read..).and_then(panicked) {
                bail!("{} did not switch itself off, and its kernel has stopped:\n{last}", self.name);
            }
            if begun.elapsed() > limit {
                bail!("{} did not switch itself off within {limit:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Kills QEMU, and with it what the machine had in memory only; everything that its console has said.
    pub fn power_cut(mut self) -> Result<String> {
        self.process.kill()?;
        self.process.wait()?;
        for reader in self.readers.drain(..) {
            // One that panicked has said why; what it had read counts.
            let _ = reader.join();
        }
        Ok(self.log())
    }

    /// Everything that the console has said.
    #[must_use]
    pub fn log(&self) -> String {
        self.console.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- console of {} ----\n{}", self.name, self.log());
        }
        // It may have switched itself off.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where a console tells of a kernel that has stopped, the last that it says: such a machine says nothing more, however long one
/// waits. Its end must have come too, for the lines are all that anybody will know of it.
fn panicked(said: &str) -> Option<String> {
    let (_, after) = said.split_once(PANIC)?;
    after.contains(PANIC_ENDS).then_some(())?;
    let lines: Vec<&str> = said.lines().collect();
    Some(lines.get(lines.len().saturating_sub(PANIC_LINES)..).unwrap_or_default().join("\n"))
}

/// Time that a process has run, to the hundredth of a second that Linux tells in (proc(5): utime and stime).
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let told = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name, in parentheses, may have spaces in it.
    let after = told.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks =
        |field: usize| after.split_whitespace().nth(field).and_then(|ticks| ticks.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("no processor time in /proc")?;
    Ok((user + system) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> Guest {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("printf '{text}'; exec sleep 600")]);
        Guest::start("alpha".to_owned(), command, None).unwrap()
    }

    #[test]
    fn a_kernel_that_has_stopped_is_not_waited_for_and_its_last_words_are_told() {
        let mut alpha =
            says(r"Kernel panic - not syncing: VFS\nCPU: 0\n---[ end Kernel panic - not syncing: VFS ]---\n");
        let told = format!("{:#}", alpha.wait_for(" login: ", BOOT).unwrap_err());
        assert!(told.contains("its kernel has stopped") && told.contains("CPU: 0"), "{told}");
        let told = format!("{:#}", alpha.wait_for_power_off(BOOT).unwrap_err());
        assert!(told.contains("its kernel has stopped"), "{told}");
    }

    #[test]
    fn what_was_waited_for_counts_before_a_kernel_that_stops_later() {
        let mut alpha = says(r"alpha login: Kernel panic - not syncing: x\n---[ end Kernel panic ]---\n");
        alpha.wait_for(" login: ", BOOT).unwrap();
        assert!(alpha.wait_for("# ", BOOT).is_err());
    }
}
