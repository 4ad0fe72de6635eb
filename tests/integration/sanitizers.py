"""What tests under sanitizers share: a network of plain C, and a compiler that can watch it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FAKE_PLAN = """
#include "plan.h"
static int32_t add_one(uint8_t *arena, const uint8_t *weights, int32_t begin, int32_t end) {
    const float *x = (const float *)(arena + 0);
    float *y = (float *)(arena + 4096);
    (void)weights;
    for (int32_t i = begin; i < end; ++i) y[i] = x[i] + 1.0f;
    return 0;
}
static int32_t back(uint8_t *arena, const uint8_t *weights, int32_t begin, int32_t end) {
    const float *y = (const float *)(arena + 4096);
    float *x = (float *)(arena + 0);
    (void)weights;
    for (int32_t i = begin; i < end; ++i) x[i] = y[1023 - i];
    return 0;
}
static const binas_span low[] = {{0u, 4096u}}, high[] = {{4096u, 4096u}};
static const binas_plan_step steps[] = {
    {"a", add_one, 1024, 1, 1, 1, low, high}, {"b", back, 1024, 4, 1, 1, high, low},
    {"c", add_one, 1024, 64, 1, 1, low, high}, {"d", back, 1024, 1024, 1, 1, high, low},
};
static const binas_port inputs[] = {{0u, 1u, 1024u, 1u, 1u, 0}};
static const binas_port outputs[] = {{0u, 1u, 16u, 8u, 8u, 0}};
const binas_plan binas_the_plan = {8256u, 64u, 0ull, 4u, 1u, 1u, steps, inputs, outputs};
"""


def sanitizing_compiler(sanitizer: str, folder: Path) -> str:
    """A compiler whose sanitizer runtimes are installed, or a skip that names the packages."""
    (folder / "probe.c").write_text("int main(void) { return 0; }\n")
    for name in ("clang", "gcc"):
        found = shutil.which(name)
        if found is None:
            continue
        command = [found, f"-fsanitize={sanitizer}", "probe.c", "-o", "probe"]
        if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0:
            return found
    pytest.skip("no sanitizer runtimes are installed: apt-get install clang libclang-rt-dev")
