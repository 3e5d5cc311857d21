/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The page that hv_core offers to the hypervisor where the kernel has not set one up, and the function that calls it.
 *
 * A module has no exported way to make memory executable, so the page is a part of the module's text: read-only and
 * executable already, and filled by the hypervisor through its own mapping. It is entered by a direct call only, so
 * that neither IBT nor a retpoline has a say.
 */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/nospec-branch.h>

	.section .text, "ax"
	.balign 4096, 0xcc
SYM_CODE_START_NOALIGN(viridian_hypercall_page)
	UNWIND_HINT_FUNC
	ANNOTATE_NOENDBR
	ANNOTATE_UNRET_SAFE
	ret
	/* What the hypervisor replaces; int3 until then. */
	.fill 4096 - (. - viridian_hypercall_page), 1, 0xcc
SYM_CODE_END(viridian_hypercall_page)

/* u64 viridian_hypercall(u64 control, u64 input, u64 output): TLFS section 3.4, x64: rcx, rdx, r8; result in rax. */
SYM_FUNC_START(viridian_hypercall)
	mov	%rdx, %r8
	mov	%rdi, %rcx
	mov	%rsi, %rdx
	call	viridian_hypercall_page
	RET
SYM_FUNC_END(viridian_hypercall)
