/* A plugin of qemu-user: how often each translated block of the network's kernels was executed.
 * Debian ships no qemu-plugin.h, so what is used of it (version 1, qemu 4.2 and later) stands here. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *),
                                           void *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { ROOM = 1 << 16, ADD = 0 };
static struct {
    uint64_t address, instructions, executed;
} blocks[ROOM];
static size_t count;
static const char *path, prefix[] = "binas_kernel_";

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    const char *symbol = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(block, 0));
    if (!symbol || strncmp(symbol, prefix, sizeof prefix - 1) != 0) return;
    uint64_t address = qemu_plugin_tb_vaddr(block), instructions = qemu_plugin_tb_n_insns(block);
    size_t i = 0;
    while (i < count && (blocks[i].address != address || blocks[i].instructions != instructions))
        ++i;
    if (i == ROOM) abort(); /* rather no answer than half of one */
    if (i == count) {
        blocks[i].address = address;
        blocks[i].instructions = instructions;
        ++count;
    }
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, &blocks[i].executed, 1);
}

static void finished(qemu_plugin_id_t id, void *unused) {
    (void)id, (void)unused;
    FILE *file = fopen(path, "w");
    if (!file) abort();
    for (size_t i = 0; i < count; ++i)
        fprintf(file, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", blocks[i].address,
                blocks[i].instructions, blocks[i].executed);
    if (fclose(file) != 0) abort();
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id,
                                                               const struct qemu_info_t *info,
                                                               int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; ++i)
        if (!strncmp(argv[i], "out=", 4)) path = strdup(argv[i] + 4);
    if (!path) return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
