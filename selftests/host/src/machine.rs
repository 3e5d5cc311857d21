// SPDX-License-Identifier: GPL-2.0

//! The machine: a VM of KVM with its processors, memory, ports and partition.

use crate::boot;
use crate::clock::MachineClock;
use crate::cpuid::{self, Identity};
use crate::ending::{End, Ending};
use crate::kvm_ioctl;
use crate::memory::{self, Ram};
use crate::options::Boot;
use crate::partition::{sint_gsi, Partition};
use crate::ports::Ports;
use crate::reactor::{Reactor, Token};
use crate::report::report;
use crate::sync::lock;
use crate::vcpu::Vcpu;
use hvdef::synic::SINT_COUNT;
use kvm_bindings::{
    kvm_enable_cap, kvm_irq_routing_entry, kvm_irq_routing_irqchip, kvm_msr_entry, kvm_pit_config,
    CpuId, KvmIrqRouting, Msrs, KVM_CAP_HYPERV_ENFORCE_CPUID, KVM_CAP_HYPERV_SYNIC2,
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQ_ROUTING_IRQCHIP,
    KVM_MAX_CPUID_ENTRIES, KVM_PIT_SPEAKER_DUMMY,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use vm_memory::GuestMemoryMmap;
use vmbus_host::{Config, DeviceId, Host};
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};
use vmm_sys_util::signal::{register_signal_handler, Killable, SIGRTMIN};

/// Processors that a machine can have.
pub(crate) const MAX_CPUS: u8 = 8;
/// Inputs of the I/O APIC.
const IOAPIC_PINS: u32 = 24;
/// The MSR of the default memory type; a guest without firmware finds it off, and then runs uncached.
const MTRR_DEFAULT_TYPE: u32 = 0x2ff;
/// Its value: on, write-back.
const WRITE_BACK: u64 = 1 << 11 | 6;
/// How long a processor may take to come out of KVM.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is told.
const STOP_INTERVAL: Duration = Duration::from_millis(5);

/// The devices whose wakers were used.
struct Wakes {
    /// Which.
    devices: Mutex<BTreeSet<DeviceId>>,
    /// Readable if there are some.
    event: EventFd,
}

/// The machine. Shared by all threads.
pub(crate) struct Machine {
    /// Server, devices, SynICs.
    partition: Mutex<Partition>,
    /// Devices behind ports.
    ports: Ports,
    /// How it ended.
    ending: Ending,
    /// Wakers.
    wakes: Arc<Wakes>,
    /// What the event loop waits for.
    reactor: Arc<Reactor>,
    /// Whether a guest that reports a crash goes on.
    after_crash: bool,
    /// RAM and the VM. Each VP's thread holds the machine, and with it this.
    ram: Ram,
}

impl Machine {
    /// Server, devices and SynICs.
    pub(crate) fn partition(&self) -> &Mutex<Partition> {
        &self.partition
    }

    /// Devices behind ports.
    pub(crate) fn ports(&self) -> &Ports {
        &self.ports
    }

    /// How it ended.
    pub(crate) fn ending(&self) -> &Ending {
        &self.ending
    }

    /// The guest's RAM.
    pub(crate) fn memory(&self) -> &GuestMemoryMmap {
        self.ram.memory()
    }

    /// Whether a guest that reports a crash goes on.
    pub(crate) fn goes_on_after_crash(&self) -> bool {
        self.after_crash
    }

    /// Makes a machine, its processors ready to run the kernel.
    ///
    /// # Errors
    ///
    /// A sentence that says what is missing and what to do.
    pub(crate) fn new(options: &Boot) -> Result<(Arc<Self>, Vec<VcpuFd>), String> {
        let kvm = open_kvm()?;
        let text = |error: io::Error| error.to_string();
        let vm = Arc::new(
            kvm.create_vm()
                .map_err(|error| format!("KVM makes no VM: {error}"))?,
        );
        let memory = memory::allocate(options.memory)?;
        let ram = Ram::map(vm.clone(), memory.clone())?;
        create_interrupt_controllers(&vm)
            .map_err(|error| format!("interrupt controllers: {error}"))?;
        let vcpus = create_vcpus(&kvm, &vm, options)?;
        route_interrupts(&vm, if options.hyperv { options.cpus } else { 0 })?;

        let image = boot::Image {
            kernel: &options.kernel,
            initrd: options.initrd.as_deref(),
            command_line: &options.command_line,
        };
        let entry = boot::load(&memory, &image, options.cpus, options.hyperv)?;
        if let Some(first) = vcpus.first() {
            set_registers(first, entry).map_err(|error| format!("registers: {error}"))?;
        }

        let reactor = Arc::new(Reactor::new().map_err(text)?);
        let wakes = Arc::new(Wakes {
            devices: Mutex::default(),
            event: EventFd::new(EFD_NONBLOCK).map_err(text)?,
        });
        reactor.watch(&wakes.event, Token::Wake).map_err(text)?;
        let ending = Ending::new().map_err(text)?;
        reactor.watch(ending.event(), Token::End).map_err(text)?;

        let clock = MachineClock::new(vm.clone());
        let waker = wakes.clone();
        let mut host = Host::new(
            Config {
                max_version: options.vmbus_max,
                vps: u32::from(options.cpus),
                seed: options.seed,
            },
            memory.clone(),
            Box::new(clock.clone()),
            Arc::new(move |device| {
                lock(&waker.devices).insert(device);
                // It fails only when its counter is full, and then it is readable anyway.
                let _ = waker.event.write(1);
            }),
        );
        if options.hyperv {
            crate::devices::add(&mut host, options)?;
        }
        let partition = Partition::new(
            host,
            options.cpus,
            memory,
            vm.clone(),
            clock,
            reactor.clone(),
            options.trace,
        );
        Ok((
            Arc::new(Self {
                partition: Mutex::new(partition),
                ports: Ports::new(vm)?,
                ending,
                wakes,
                reactor,
                after_crash: options.after_crash,
                ram,
            }),
            vcpus,
        ))
    }

    /// Runs until the machine ends. `terminate` is readable when the program is to end.
    pub(crate) fn run(self: &Arc<Self>, vcpus: Vec<VcpuFd>, terminate: &EventFd) -> End {
        let end = match self.try_run(vcpus, terminate) {
            Ok(end) => end,
            Err(error) => End::Error(error),
        };
        self.ending.set(end.clone());
        end
    }

    /// As [`Self::run`], which handles the error.
    fn try_run(self: &Arc<Self>, vcpus: Vec<VcpuFd>, terminate: &EventFd) -> Result<End, String> {
        let text = |error: io::Error| error.to_string();
        register_signal_handler(SIGRTMIN(), ignore_signal)
            .map_err(|error| format!("signals: {error}"))?;
        self.reactor
            .watch(terminate, Token::Terminate)
            .map_err(text)?;
        let mut threads = Vec::new();
        for (vp, fd) in (0..).zip(vcpus) {
            let vcpu = Vcpu::new(fd, vp, self.clone());
            threads.push(
                thread::Builder::new()
                    .name(format!("vp{vp}"))
                    .spawn(move || vcpu.run())
                    .map_err(text)?,
            );
        }
        let end = loop {
            if let Some(end) = self.ending.get() {
                break end;
            }
            for token in self.reactor.wait().map_err(text)? {
                self.handle(token);
            }
        };
        for text in stop(threads) {
            if end.is_unexpected() {
                report(format_args!("{text}"));
            }
        }
        Ok(end)
    }

    /// Handles what has become readable.
    fn handle(&self, token: Token) {
        match token {
            Token::Timer => lock(&self.partition).run_due(),
            Token::Wake => {
                let _ = self.wakes.event.read();
                let devices = core::mem::take(&mut *lock(&self.wakes.devices));
                lock(&self.partition).wake(devices);
            }
            Token::End => {}
            Token::Terminate => self.ending.set(End::Stopped("a signal")),
            Token::Signal(connection_id) => lock(&self.partition).signalled(connection_id),
            Token::Eom { vp, sint } => lock(&self.partition).eom(vp, sint),
        }
    }

    /// The guest asks for something on its second serial port.
    pub(crate) fn request_from_guest(self: &Arc<Self>, line: &[u8]) {
        let requests = self.ports.requests().clone();
        crate::control::handle(self, line, move |answer| {
            let mut requests = lock(&requests);
            requests.send(answer.to_string().as_bytes());
            requests.send(b"\n");
        });
    }
}

/// Opens KVM with what is needed of it.
fn open_kvm() -> Result<Kvm, String> {
    let kvm = Kvm::new().map_err(|error| {
        let advice = match io::Error::from(error).kind() {
            io::ErrorKind::NotFound => {
                "load the module kvm-intel or kvm-amd, on a machine whose firmware has virtualization switched on"
            }
            io::ErrorKind::PermissionDenied => "become a member of the group kvm, or root",
            _ => "is another hypervisor using the processor's virtualization?",
        };
        format!("/dev/kvm: {error}: {advice}")
    })?;
    for (cap, name) in [
        (Cap::Irqchip, "in-kernel interrupt controllers"),
        (Cap::Pit2, "an in-kernel PIT"),
        (Cap::Irqfd, "interrupts by eventfd"),
        (Cap::IrqRouting, "interrupt routing"),
        (Cap::ImmediateExit, "immediate exits"),
    ] {
        if !kvm.check_extension(cap) {
            return Err(format!("KVM lacks {name}, which hvhost needs"));
        }
    }
    Ok(kvm)
}

/// Checks that KVM can pose as Hyper-V.
fn check_hyperv(kvm: &Kvm) -> Result<(), String> {
    if kvm.check_extension(Cap::HypervSynic2) {
        return Ok(());
    }
    Err(
        "this machine's KVM has no Hyper-V support (KVM_CAP_HYPERV_SYNIC2): its module kvm must be built with \
         CONFIG_KVM_HYPERV=y; --no-hyperv boots a guest without it"
            .into(),
    )
}

/// PIC, I/O APIC, local APICs, PIT.
fn create_interrupt_controllers(vm: &VmFd) -> Result<(), kvm_ioctls::Error> {
    vm.set_tss_address(memory::TSS)?;
    vm.set_identity_map_address(memory::IDENTITY_MAP)?;
    vm.create_irq_chip()?;
    vm.create_pit2(kvm_pit_config {
        // Port 61h, by which a guest measures with the PIT.
        flags: KVM_PIT_SPEAKER_DUMMY,
        ..Default::default()
    })
}

/// The processors, with what CPUID says to them.
fn create_vcpus(kvm: &Kvm, vm: &VmFd, options: &Boot) -> Result<Vec<VcpuFd>, String> {
    let supported = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(|error| format!("CPUID: {error}"))?;
    let hv_leaves = if options.hyperv {
        check_hyperv(kvm)?;
        Some(
            kvm_ioctl::supported_hv_cpuid(kvm)
                .map_err(|error| format!("KVM_GET_SUPPORTED_HV_CPUID: {error}"))?,
        )
    } else {
        None
    };
    let identity = hv_leaves
        .as_ref()
        .map_or(Identity::Kvm, |leaves| Identity::HyperV(leaves.as_slice()));
    let mut vcpus = Vec::new();
    for vp in 0..options.cpus {
        let vcpu = vm
            .create_vcpu(u64::from(vp))
            .map_err(|error| format!("VP {vp}: {error}"))?;
        let leaves = cpuid::leaves(supported.as_slice(), identity, vp, options.cpus)?;
        let leaves = CpuId::from_entries(&leaves).map_err(|error| format!("CPUID: {error:?}"))?;
        vcpu.set_cpuid2(&leaves)
            .map_err(|error| format!("CPUID of VP {vp}: {error}"))?;
        if options.hyperv {
            // A guest that uses what it was not offered shall notice.
            for cap in [KVM_CAP_HYPERV_SYNIC2, KVM_CAP_HYPERV_ENFORCE_CPUID] {
                vcpu.enable_cap(&kvm_enable_cap {
                    cap,
                    args: [u64::from(cap == KVM_CAP_HYPERV_ENFORCE_CPUID), 0, 0, 0],
                    ..Default::default()
                })
                .map_err(|error| format!("capability {cap} of VP {vp}: {error}"))?;
            }
        }
        let msrs = Msrs::from_entries(&[kvm_msr_entry {
            index: MTRR_DEFAULT_TYPE,
            data: WRITE_BACK,
            ..Default::default()
        }])
        .map_err(|error| format!("{error:?}"))?;
        vcpu.set_msrs(&msrs)
            .map_err(|error| format!("memory types of VP {vp}: {error}"))?;
        vcpus.push(vcpu);
    }
    Ok(vcpus)
}

/// Routes the interrupts of the PC to its controllers, and those of each VP's SINTs to it.
fn route_interrupts(vm: &VmFd, vps: u8) -> Result<(), String> {
    let to_chip = |gsi: u32, irqchip: u32, pin: u32| {
        let mut route = kvm_irq_routing_entry {
            gsi,
            type_: KVM_IRQ_ROUTING_IRQCHIP,
            ..Default::default()
        };
        route.u.irqchip = kvm_irq_routing_irqchip { irqchip, pin };
        route
    };
    let mut routes = Vec::new();
    for gsi in 0..IOAPIC_PINS {
        match gsi {
            0..=7 => routes.push(to_chip(gsi, KVM_IRQCHIP_PIC_MASTER, gsi)),
            8..=15 => routes.push(to_chip(gsi, KVM_IRQCHIP_PIC_SLAVE, gsi & 7)),
            _ => {}
        }
        // The PIT's is input 2 of the I/O APIC, as the MADT says.
        match gsi {
            0 => routes.push(to_chip(gsi, KVM_IRQCHIP_IOAPIC, 2)),
            2 => {}
            _ => routes.push(to_chip(gsi, KVM_IRQCHIP_IOAPIC, gsi)),
        }
    }
    for vp in 0..u32::from(vps) {
        for sint in (0..).take(SINT_COUNT) {
            routes.push(kvm_ioctl::sint_route(sint_gsi(vp, sint), vp, sint));
        }
    }
    let routes = KvmIrqRouting::from_entries(&routes).map_err(|error| format!("{error:?}"))?;
    vm.set_gsi_routing(&routes)
        .map_err(|error| format!("interrupt routes: {error}"))
}

/// Has a processor start at the kernel's entry.
fn set_registers(vcpu: &VcpuFd, entry: u64) -> Result<(), kvm_ioctls::Error> {
    let mut sregs = vcpu.get_sregs()?;
    boot::enter_long_mode(&mut sregs);
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&boot::registers(entry))
}

/// Takes a signal, which is all that is needed to bring a processor out of KVM.
extern "C" fn ignore_signal<I, C>(_number: i32, _info: *mut I, _context: *mut C) {}

/// Brings the processors out of KVM. Returns what they say; one that does not come is left alone.
fn stop(threads: Vec<JoinHandle<String>>) -> Vec<String> {
    let deadline = std::time::Instant::now().checked_add(STOP_PATIENCE);
    let mut reports = Vec::new();
    for thread in threads {
        let name = thread.thread().name().unwrap_or("").to_owned();
        // A signal that comes just before the processor goes in is lost, so it is sent again.
        while !thread.is_finished() && deadline.is_some_and(|end| std::time::Instant::now() < end) {
            let _ = thread.kill(SIGRTMIN());
            thread::sleep(STOP_INTERVAL);
        }
        reports.push(if thread.is_finished() {
            thread
                .join()
                .unwrap_or_else(|_| format!("{name}: its thread panicked"))
        } else {
            format!("{name}: it does not come out of KVM")
        });
    }
    reports
}
