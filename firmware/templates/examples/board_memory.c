static uint8_t arena[@UPPER@_ARENA_BYTES] __attribute__((aligned(@UPPER@_ARENA_ALIGNMENT)));
#ifdef @UPPER@_SLOW_ARENA_BYTES
static uint8_t slow_arena[@UPPER@_SLOW_ARENA_BYTES] __attribute__((aligned(@UPPER@_ARENA_ALIGNMENT)));
#define INIT(s) @NAME@_init(s, arena, slow_arena)
#else
#define INIT(s) @NAME@_init(s, arena)
#endif
static @NAME@_state state;
