# An installer of a few hundred bytes: what a BIOS starts from a disc (El Torito, no emulation) with
# the disk to install onto as drive 80h. It says on the serial port what it finds, writes a boot
# sector to the disk and halts; that sector, started, says so and halts.
# Both parts run at 0000:7C00 or 07C0:0000.
        .code16
        .text
        .globl _start
_start:
        jmp     begin
        .org    64                      # 8 to 63: the boot information table, were there one
begin:  cli
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7C00, %sp
        sti
        ljmp    $0, $placed
placed: movb    %dl, disc
        movw    $started, %si
        call    say
        # The volume descriptor: sector 16 of 2,048 bytes.
        movb    $0x42, %ah
        movw    $packet, %si
        int     $0x13
        jc      failed
        cmpl    $0x30304443, 0x9001     # "CD00"
        jne     failed
        movw    $descriptor, %si
        call    say
        movb    $0x43, %ah
        xorb    %al, %al
        movb    $0x80, %dl
        movw    $disk_packet, %si
        int     $0x13
        jc      failed
        movw    $installed, %si
        call    say
        jmp     halt
failed: movw    $broken, %si
        call    say
halt:   hlt
        jmp     halt

say:    lodsb
        testb   %al, %al
        jz      1f
        movb    %al, %bl
        movw    $0x3FD, %dx
2:      inb     %dx, %al                # the port can take a byte
        testb   $0x20, %al
        jz      2b
        movb    %bl, %al
        movw    $0x3F8, %dx
        outb    %al, %dx
        jmp     say
1:      movb    disc, %dl
        ret

disc:   .byte   0
        .balign 4
packet: .byte   16, 0
        .word   1, 0x9000, 0
        .quad   16
disk_packet:
        .byte   16, 0
        .word   1, sector, 0
        .quad   0
started:    .asciz "DISC started\r\n"
descriptor: .asciz "DISC reads itself\r\n"
installed:  .asciz "DISC installed onto drive 80\r\n"
broken:     .asciz "DISC failed\r\n"

        .balign 512
sector: cli                             # runs at 7C00 itself, so addresses are relative to it
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    $(hello - sector + 0x7C00), %si
3:      lodsb
        testb   %al, %al
        jz      5f
        movb    %al, %bl
        movw    $0x3FD, %dx
4:      inb     %dx, %al
        testb   $0x20, %al
        jz      4b
        movb    %bl, %al
        movw    $0x3F8, %dx
        outb    %al, %dx
        jmp     3b
5:      hlt
        jmp     5b
hello:  .asciz "DISK started what the disc installed\r\n"
        .org    1022
        .word   0xAA55
        .org    2048
