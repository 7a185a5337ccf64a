/*
 * The programmes that our KVM guests run: flat images for 32-bit protected mode without paging, which
 * lib/guest/kvm copies into guest memory. docs/kvm-guest.md has the memory map and what they do.
 *
 * At entry, for every vCPU:  eax  its number      ebp  the address of its own page
 *                            ecx  how many        esp  the end of that page: its stack
 * The other registers are 0. They are position-independent: jumps are relative, data is in the own page.
 *
 * A vCPU is stopped between any two instructions, moved, and goes on with the next. From its registers
 * alone it can be told how far it is, so what belongs together is changed by one instruction.
 */

/* The own page. lib/guest/kvm/own-page.ts has the same offsets. */
#define FIRST        0x00 /* address of its first page */
#define END          0x04 /* address behind its last page */
#define INTERVAL     0x08 /* TSC cycles from one page to the next; 0: as fast as it goes */
#define REPORT       0x0c /* passes from one report to the next; 0: none */
#define DONE         0x10 /* 64 bits: pages written or touched */
#define BAD_PAGES    0x18 /* found wrong when they were to be written again */
#define LOST_WRITES  0x1c
#define DUE          0x20 /* low half of the TSC when the last page was due */
#define NUMBER       0x24 /* of the vCPU */
#define TO_REPORT    0x28 /* passes left until the next report */
#define PAGES        0x2c /* END - FIRST, in pages */
#define MASK         0x30 /* the least 2^n - 1 that no page number exceeds */
#define MAX_CYCLES   0x34 /* the longest touch, low half */
#define HISTOGRAM    0x200 /* of touches by cycles: 128 words */

#define PAGE         0x1000
#define WORDS        8      /* of a page: one in every 512 bytes, the rest stays zero */
#define STRIDE       (PAGE / WORDS)
#define KEY          0x9e3779b1 /* odd, so that it has an inverse modulo 2^32 */
#define KEY_INVERSE  0x0e8b2f51
#define DEBUG_PORT   0xe9
#define CATCH_UP     16     /* pages by which a vCPU may be late and still make up for it */

#if defined(__x86_64__)

        .section .rodata
        .code32

/* Waits until the next page is due. Changes eax, edx. */
.macro pace
1:      cmpl    $0, INTERVAL(%ebp)
        je      3f
        rdtsc
        subl    DUE(%ebp), %eax         /* since the last one was due */
        cmpl    INTERVAL(%ebp), %eax
        jae     2f
        pause
        jmp     1b
2:      movl    INTERVAL(%ebp), %edx
        addl    %edx, DUE(%ebp)
        imull   $CATCH_UP, %edx
        cmpl    %edx, %eax
        jb      3f
        rdtsc                           /* too late to make up for it */
        movl    %eax, DUE(%ebp)
3:
.endm

/*
 * writer: writes each of its pages in turn, pass after pass, and first checks that the page holds what
 * the last pass left. In pass p the words of the page at address a are p * KEY xor a. Pass 1 is done
 * already: memory is filled so.
 *
 *   esi  the pass, from 2
 *   ebx  the page it is at; END: the pass is complete
 *   edi  where it writes; from ebx + STRIDE * k - STRIDE + 4 to ebx + STRIDE * k, k words are written
 */
        .globl  kvm_writer_begin, kvm_writer_end
        .hidden kvm_writer_begin, kvm_writer_end
kvm_writer_begin:
        movl    %eax, NUMBER(%ebp)
        movl    REPORT(%ebp), %eax
        movl    %eax, TO_REPORT(%ebp)
        rdtsc
        movl    %eax, DUE(%ebp)
        movl    $2, %esi
        movl    FIRST(%ebp), %edi
        movl    %edi, %ebx              /* from here on ebx tells: until now it was 0 */
write_page:
        cmpl    END(%ebp), %ebx
        jae     end_of_pass
        pace
        leal    -1(%esi), %ecx          /* the pass before */
        imull   $KEY, %ecx, %eax
        xorl    %ebx, %eax
        .set    word, 0
        .rept   WORDS
        cmpl    %eax, STRIDE*word(%ebx)
        jne     bad_page
        .set    word, word + 1
        .endr
checked:
        imull   $KEY, %esi, %eax
        xorl    %ebx, %eax
        .rept   WORDS
        stosl                           /* writes, and moves edi, at once */
        addl    $(STRIDE - 4), %edi
        .endr
        addl    $1, DONE(%ebp)
        adcl    $0, DONE+4(%ebp)
        addl    $PAGE, %ebx
        movl    %ebx, %edi
        jmp     write_page

/* What the first word says of the pass it is from: eax. In a page that is torn it may say anything. */
bad_page:
        incl    BAD_PAGES(%ebp)
        movl    (%ebx), %eax
        testl   %eax, %eax
        jz      1f                      /* zero: of no pass at all */
        xorl    %ebx, %eax
        imull   $KEY_INVERSE, %eax
1:      movl    %ecx, %edx
        subl    %eax, %edx              /* so many passes are missing */
        jbe     2f
        addl    %edx, LOST_WRITES(%ebp)
        jmp     checked
2:      incl    LOST_WRITES(%ebp)       /* no earlier one: the last is missing, at least */
        jmp     checked

/* The pass and the page change together: popal is the one instruction that loads both. */
end_of_pass:
        cmpl    $0, REPORT(%ebp)
        je      1f
        decl    TO_REPORT(%ebp)
        jnz     1f
        call    report
        movl    REPORT(%ebp), %eax
        movl    %eax, TO_REPORT(%ebp)
1:      pushal                          /* edi is at 0(%esp), esi at 4, ebx at 16 */
        incl    4(%esp)
        movl    FIRST(%ebp), %eax
        movl    %eax, 0(%esp)
        movl    %eax, 16(%esp)
        popal
        jmp     write_page

/* Puts out `vcpu N pass P` and a newline, both numbers in hexadecimal. Changes eax, ecx, edx. */
report:
        movl    $0x75706376, %eax       /* "vcpu" */
        call    put_four
        movb    $' ', %al
        outb    %al, $DEBUG_PORT
        movl    NUMBER(%ebp), %edx
        movl    $1, %ecx
        call    put_hex
        movb    $' ', %al
        outb    %al, $DEBUG_PORT
        movl    $0x73736170, %eax       /* "pass" */
        call    put_four
        movb    $' ', %al
        outb    %al, $DEBUG_PORT
        movl    %esi, %edx
        movl    $8, %ecx
        call    put_hex
        movb    $'\n', %al
        outb    %al, $DEBUG_PORT
        ret

/* Puts out the four characters in eax, the lowest first. */
put_four:
        movl    $4, %ecx
1:      outb    %al, $DEBUG_PORT
        shrl    $8, %eax
        decl    %ecx
        jnz     1b
        ret

/* Puts out the last ecx digits of edx. */
put_hex:
        pushl   %edx
        leal    -4(,%ecx,4), %eax
        xchgl   %eax, %ecx              /* ecx: how far the digit is up */
        shrl    %cl, %edx
        xchgl   %eax, %ecx
        andl    $15, %edx
        leal    '0'(%edx), %eax
        cmpl    $10, %edx
        jb      1f
        addl    $('a' - '0' - 10), %eax
1:      outb    %al, $DEBUG_PORT
        popl    %edx
        decl    %ecx
        jnz     put_hex
        ret
kvm_writer_end:

/*
 * latency: touches its pages in a scattered order, each once in a round, and keeps how many TSC cycles
 * every touch took. A touch adds 1 to the first word of the page.
 *
 *   esi  the page's number; edi its address
 *
 * The order is a linear congruential one modulo a power of two, which meets every number once in a
 * round. The histogram has four parts for each power of two: a touch of c cycles, with 2^n <= c < 2^(n+1),
 * is in word 4 n + c / 2^(n-2) - 4.
 */
        .globl  kvm_latency_begin, kvm_latency_end
        .hidden kvm_latency_begin, kvm_latency_end
kvm_latency_begin:
        movl    %eax, NUMBER(%ebp)
        rdtsc
        movl    %eax, DUE(%ebp)
next_touch:
        imull   $1664525, %esi
        addl    $1013904223, %esi
        andl    MASK(%ebp), %esi
        cmpl    PAGES(%ebp), %esi
        jae     next_touch
        movl    %esi, %edi
        shll    $12, %edi
        addl    FIRST(%ebp), %edi
        pace
        rdtsc
        movl    %eax, %ecx
        movl    %edx, %ebx
        incl    (%edi)
        rdtsc
        subl    %ecx, %eax
        sbbl    %ebx, %edx
        jz      1f
        movl    $0xffffffff, %eax       /* longer than 32 bits of cycles */
1:      addl    $1, DONE(%ebp)
        adcl    $0, DONE+4(%ebp)
        cmpl    MAX_CYCLES(%ebp), %eax
        jbe     2f
        movl    %eax, MAX_CYCLES(%ebp)
2:      orl     $4, %eax                /* nothing is as short as that */
        bsrl    %eax, %ecx
        subl    $2, %ecx
        shrl    %cl, %eax               /* 4 to 7 */
        leal    4(%eax,%ecx,4), %eax
        incl    HISTOGRAM(%ebp,%eax,4)
        jmp     next_touch
kvm_latency_end:

#endif

        .section .note.GNU-stack, "", %progbits
