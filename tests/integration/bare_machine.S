// The first instructions of a computer without firmware: from reset to 64-bit mode, the disk into
// memory, then call after call of a table that lies there. bare_machine.py says what lies where.

    .intel_syntax noprefix
    .globl reset, faults

    .code16
reset:                              // the code segment begins at 0xFFFF0000
    .byte 0x67, 0x2E, 0x66, 0x0F, 0x01, 0x15   // lgdt cs:[...]
    .long gdt_pointer - 0xFFFF0000
    mov eax, 0x11                   // CR0: protected mode
    mov cr0, eax
    .byte 0x66, 0xEA                // far jump
    .long protected
    .short 0x08
gdt_pointer:
    .short 0x1F
    .long gdt
    .balign 8
gdt:                                // none, 32-bit code, 64-bit code, data
    .quad 0, 0x00CF9B000000FFFF, 0x00AF9B000000FFFF, 0x00CF93000000FFFF

    .code32
protected:
    mov eax, 0x18
    mov ds, ax
    mov es, ax
    mov ss, ax
    cld
    mov edi, MEMORY
    xor ebx, ebx
read:                               // the next 256 sectors, by programmed input
    mov edx, 0x1F2                  // how many: 0 is 256
    xor eax, eax
    out dx, al
    mov eax, ebx
    inc edx
    out dx, al
    shr eax, 8
    inc edx
    out dx, al
    shr eax, 8
    inc edx
    out dx, al
    shr eax, 8
    or al, 0xE0                     // first drive, linear addresses
    inc edx
    out dx, al
    inc edx
    mov al, 0x20                    // command: read sectors
    out dx, al
    mov esi, 256
sector:
    in al, dx
    test al, 0x80                   // busy
    jnz sector
    test al, 1                      // failed
    jnz stop
    test al, 8                      // has data
    jz sector
    mov edx, 0x1F0
    mov ecx, 256
    rep insw
    mov edx, 0x1F7
    dec esi
    jnz sector
    add ebx, 256
    cmp ebx, [SECTORS]
    jb read

    mov eax, 0x620                  // CR4: wide entries of tables, SSE and its exceptions
    mov cr4, eax
    mov eax, TABLES
    mov cr3, eax
    mov ecx, 0xC0000080             // EFER: 64-bit mode
    mov eax, 0x100
    xor edx, edx
    wrmsr
    mov eax, 0x80010033             // CR0: paging, write protection at every privilege, FPU
    mov cr0, eax
    .byte 0xEA                      // far jump
    .long wide
    .short 0x10

    .code64
wide:
    mov eax, 1
    cpuid
    test ecx, 1 << 26               // has XSAVE, and with it more registers
    jz prepared
    mov rax, cr4
    or eax, 0x40000
    mov cr4, rax
    mov eax, 0xD
    xor ecx, ecx
    cpuid                           // those that it has
    and eax, 0xE7                   // up to AVX-512's
    xor edx, edx
    xor ecx, ecx
    xsetbv
prepared:
    lidt [FAULT_TABLE]
    mov rsp, STACK_END
    mov rbx, [CALL]
next:                               // rbx: function, arguments, room for what it returns
    mov [CALL], rbx
    mov rax, [rbx]
    test rax, rax
    jz halt
    mov ecx, ARGUMENTS
argument:
    push qword ptr [rbx + 8 * rcx]
    dec ecx
    cmp ecx, 6
    jne argument
    mov rdi, [rbx + 8]
    mov rsi, [rbx + 16]
    mov rdx, [rbx + 24]
    mov rcx, [rbx + 32]
    mov r8, [rbx + 40]
    mov r9, [rbx + 48]
    call rax
    add rsp, 8 * (ARGUMENTS - 6)
    mov [rbx + 8 * (ARGUMENTS + 1)], rax
    add rbx, 8 * (ARGUMENTS + 2)
    jmp next
halt:
    mov eax, OPEN_TABLES            // the debugger may read every page
    mov cr3, rax
stop:
    xchg bx, bx                     // Bochs stops here
    hlt

    .balign 16
    .set vector, 0
faults:
    .rept 32
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
    push 0                          // the CPU pushes an error code for the others
    .endif
    push vector
    jmp fault
    .set vector, vector + 1
    .endr
fault:
    pop qword ptr [FAULT]
    pop rax
    pop qword ptr [FAULT + 8]       // where
    mov rax, cr2
    mov [FAULT + 16], rax           // the address that was not to be touched
    jmp halt
