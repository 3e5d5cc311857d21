// SPDX-License-Identifier: GPL-2.0

//! What is done about frozen file systems where there is no daemon that would.

use core::ffi::CStr;

/// A line for `/bin/sh` that thaws whatever the daemon may have frozen; it ends with another status than 0 if it could not try,
/// or took too long. What is not frozen stays as it is, with an error that nobody needs to see. All at once, since a file system
/// may be in a file of another one. `fsfreeze` cannot be killed while a disk does not answer, so after fifteen seconds the shell
/// is, with the one that starts them.
///
/// A blank in a folder's name is `\040` there, of which `%b` wants `\0040`: it takes up to three digits after the `0`.
pub const THAW: &CStr = c"command -v fsfreeze > /dev/null || exit 1; \
    sed 's/\\\\/\\\\0/g' /proc/mounts | { while read -r device folder rest; do case $device in /dev/*) \
    fsfreeze --unfreeze \"$(printf %b \"$folder\")\" 2> /dev/null & ;; esac; done; wait; } & work=$!; \
    (sleep 15 && kill -KILL $work $$) & limit=$!; wait $work; kill $limit; :";

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::process::{self, Command, Stdio};
    use std::string::String;
    use std::time::Instant;
    use std::{env, format, fs};

    /// What is there instead of `/proc/mounts`.
    struct Mounts(PathBuf);

    impl Mounts {
        fn new(name: &str, lines: &[&str]) -> Self {
            let path = env::temp_dir().join(format!("viridian-{name}-{}", process::id()));
            fs::write(&path, lines.join("\n") + "\n").unwrap();
            Self(path)
        }

        /// A shell that is given the line, with `fsfreeze` for that program, and one second for fifteen.
        fn shell(&self, fsfreeze: &str) -> Command {
            let line = THAW.to_str().unwrap().replace("sleep 15", "sleep 1");
            let line = line.replace("/proc/mounts", self.0.to_str().unwrap());
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &format!("fsfreeze() {{ {fsfreeze}; }}; {line}")]);
            shell
        }
    }

    impl Drop for Mounts {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn folders_are_thawed_whatever_their_names_are() {
        let lines = [
            "/dev/sda1 / ext4 rw 0 0",
            "proc /proc proc rw 0 0",
            r"/dev/sdb1 /mnt/disk\0402 xfs rw 0 0",
            r"/dev/sdc1 /mnt/a\0117\134040 ext4 rw 0 0",
        ];
        let mounts = Mounts::new("names", &lines);
        let mut shell = mounts.shell(r#"printf '%s <%s>\n' "$1" "$2""#);
        let shown = shell.output().unwrap();
        assert!(shown.status.success());
        let shown = String::from_utf8(shown.stdout).unwrap();
        let mut thawed: std::vec::Vec<_> = shown.lines().collect();
        thawed.sort_unstable();
        let folders = ["/", "/mnt/a\t7\\040", "/mnt/disk 2"];
        assert_eq!(
            thawed,
            folders.map(|folder| format!("--unfreeze <{folder}>"))
        );
    }

    #[test]
    fn a_disk_that_does_not_answer_is_not_waited_for() {
        let mounts = Mounts::new("hangs", &["/dev/sda1 / ext4 rw 0 0"]);
        let started = Instant::now();
        let mut shell = mounts.shell("sleep 60");
        let status = shell.stdout(Stdio::null()).status().unwrap();
        assert!(!status.success());
        assert!(started.elapsed().as_secs() < 30);
    }

    #[test]
    fn that_there_is_no_program_for_it_is_told() {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", THAW.to_str().unwrap()])
            .env("PATH", "/nowhere");
        assert!(!shell.status().unwrap().success());
    }
}
