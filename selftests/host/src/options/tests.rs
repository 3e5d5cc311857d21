// SPDX-License-Identifier: GPL-2.0

//! The command line, right and wrong.

use super::*;

/// Parses words.
fn words(line: &[&str]) -> Result<Command, String> {
    parse(line.iter().map(OsString::from))
}

/// Parses words after `boot --kernel k`.
fn boot(line: &[&str]) -> Result<Boot, String> {
    match words(&[&["boot", "--kernel", "k"], line].concat())? {
        Command::Boot(boot) => Ok(*boot),
        other => panic!("{other:?}"),
    }
}

#[test]
fn help_and_version_are_printed() {
    for line in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["boot", "--help"],
        &["ctl", "-h"],
    ] {
        assert!(matches!(words(line), Ok(Command::Print(text)) if text == HELP));
    }
    assert!(
        matches!(words(&["--version"]), Ok(Command::Print(text)) if text.starts_with("hvhost "))
    );
}

#[test]
fn the_help_names_every_option_and_is_narrow() {
    let source = include_str!("../options.rs");
    for option in source.split("Arg::Long(\"").skip(1) {
        let name = option.split('"').next().unwrap();
        assert!(HELP.contains(&format!("--{name}")), "--{name}");
    }
    assert!(HELP.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn everything_can_be_said() {
    let said = boot(&[
        "--initrd",
        "i",
        "--cmdline",
        "a b",
        "--cpus",
        "8",
        "--memory",
        "2048",
        "--no-hyperv",
        "--vmbus-max=4.1",
        "--seed",
        "7",
        "--control",
        "c",
        "--after-crash",
        "--reset-ok",
        "--disk",
        "file=d",
        "--dvd",
        "file=e,lun=1",
        "--ide",
        "ram=1M",
        "--scsi",
        "--sub-channels",
        "3",
        "--no-ic",
        "--no-balloon",
        "--trace",
        "--fault",
        r#"{"a":1}"#,
        "--fault",
        r#"[{"b":2},{"c":3}]"#,
    ])
    .unwrap();
    assert_eq!(said.kernel, PathBuf::from("k"));
    assert_eq!(said.initrd, Some("i".into()));
    assert_eq!(said.command_line, "a b");
    assert_eq!((said.cpus, said.memory, said.seed), (8, 2048, 7));
    assert_eq!(said.vmbus_max, Version::V4_1);
    assert_eq!(said.control, Some("c".into()));
    assert!(said.after_crash && said.reset_is_success && said.scsi && !said.hyperv);
    assert!(said.trace && !said.integration_services && !said.balloon);
    assert_eq!(
        (
            said.disks.len(),
            said.ide.len(),
            said.sub_channels,
            said.faults.len()
        ),
        (2, 1, 3, 3)
    );
}

#[test]
fn without_options_there_is_a_machine_that_is_of_use() {
    let said = boot(&[]).unwrap();
    assert_eq!((said.cpus, said.memory, said.hyperv), (1, 1024, true));
    assert_ne!(said.seed, boot(&[]).unwrap().seed);
}

#[test]
fn what_is_wrong_is_said() {
    for (line, said) in [
        (&[][..], "boot or ctl"),
        (&["start"], "no command start"),
        (&["boot"], "--kernel FILE"),
        (&["boot", "--kernel"], "missing argument"),
        (&["boot", "--kernel", "k", "--cpu", "2"], "--cpu"),
        (&["boot", "--kernel", "k", "--cpus", "0"], "1 to 8"),
        (&["boot", "--kernel", "k", "--cpus", "9"], "1 to 8"),
        (&["boot", "--kernel", "k", "--cpus", "two"], "--cpus two"),
        (&["boot", "--kernel", "k", "--memory", "1"], "64 to"),
        (&["boot", "--kernel", "k", "--vmbus-max", "5"], "5.3"),
        (&["boot", "--kernel", "k", "--fault", "x"], "JSON"),
        (
            &["boot", "--kernel", "k", "--fault", "@/no/such"],
            "/no/such",
        ),
        (&["ctl", "list"], "--control PATH"),
        (&["ctl", "--control", "c"], "command"),
    ] {
        let error = words(line).unwrap_err();
        assert!(error.contains(said), "{line:?}: {error}");
    }
}

#[test]
fn disks() {
    let said = boot(&[
        "--disk",
        "ram=1M,lun=2",
        "--dvd",
        "file=x",
        "--ide",
        "ram=2M,target=1",
    ])
    .unwrap();
    let dvds: Vec<_> = said.disks.iter().map(|disk| disk.options.dvd).collect();
    assert_eq!(dvds, [false, true]);
    assert_eq!(
        said.ide.first().map(|disk| (disk.target, disk.ram)),
        Some((1, Some(2 << 20)))
    );
    let error = boot(&["--disk", "ram=1M,colour=red"]).unwrap_err();
    assert!(
        error.contains("--disk") && error.contains("colour"),
        "{error}"
    );
}
