"""Builds model, harness and port with the compiler and flags of the board's JSON file: the one place for flags."""

from os.path import join

from SCons.Script import Default, DefaultEnvironment

env = DefaultEnvironment()
build = env.BoardConfig().get("build")
bare = build["linker"] != ""
project = env.subst("$PROJECT_DIR")
main = env.GetProjectOption("custom_main", "harness")  # or the folder of another main program
optimize = {"balanced": "-O2", "size": "-Os", "speed": "-O3"}[env.GetProjectOption("custom_optimize")]

env.Replace(
    CC=build["cc"],
    LINK=build["cc"],
    AR=build["ar"],
    RANLIB=build["ranlib"],
    PROGNAME="firmware",
    PROGSUFFIX=".elf",
    ASPPFLAGS=["-x", "assembler-with-cpp", *build["machine"]],
    CFLAGS=["-std=gnu99" if not bare else "-std=c99"],
    CCFLAGS=[
        *build["machine"],
        optimize,
        "-Wall",
        "-Wextra",
        "-Werror",
        # a fused multiply-add rounds once instead of twice: another result than the golden runtime's
        "-ffp-contract=off",
        "-ffunction-sections",
        "-fdata-sections",
        # for #include "..." alone: a model called features must not stand in for <features.h>
        *(flag for name in ("model", main) for flag in ("-iquote", join(project, name))),
    ],
    CPPPATH=[join(project, "ports", "common")],
    CPPDEFINES=["SEC_PORT"],
    LINKFLAGS=[*build["machine"], optimize],
    LIBS=build["libraries"],
    SRC_FILTER=["-<*>"],  # src/ is for the vendor's platform
)
if bare:
    # Freestanding, so that no C library is needed; -fbuiltin lets GCC still expand small memcpy calls.
    env.Append(CCFLAGS=["-ffreestanding", "-fbuiltin", "-fno-common", "-fno-asynchronous-unwind-tables"])
    env.Prepend(CPPPATH=[join(project, "ports", "common", "include")])
    for name in ("ram", "flash", "stack"):
        size = env.GetProjectOption(f"custom_{name}_bytes")
        env.Append(LINKFLAGS=[f"-Wl,--defsym=SEC_{name.upper()}_BYTES={size}"])
    env.Append(
        LINKFLAGS=[
            "-nostdlib",
            "-nostartfiles",
            "-Wl,--gc-sections",
            "-Wl,--no-warn-rwx-segments",
            # relative to the project, where the linker runs: its folder may have spaces in its name
            "-L" + join("ports", "common"),
            "-T",
            join("ports", build["linker"]),
        ]
    )

# The linker script knows the harness by this folder of objects; it is not part of the firmware's size.
env.BuildSources(join("$BUILD_DIR", "model"), join(project, "model"), "+<*.c>")
env.BuildSources(join("$BUILD_DIR", "sec-harness"), join(project, main), "+<*.c>")
for port in build["ports"]:
    folder = join(project, "ports", port)
    env.BuildSources(join("$BUILD_DIR", port), folder, "+<*.c> +<*.S> -<port*>")
    env.BuildSources(join("$BUILD_DIR", port, "sec-harness"), folder, "+<port*.c> +<port*.S>")

Default(env.BuildProgram())
