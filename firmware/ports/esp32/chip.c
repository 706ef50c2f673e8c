/* ESP32: watchdogs off, CPU on the 40 MHz crystal, flash mapped for reading at 0x3F400000.
   Registers: ESP32 technical reference manual, chapters "Watchdog timers", "Reset and clock", "Memory
   management and protection units". Runs from IRAM before any constant in flash can be read. */
#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define WATCHDOG_KEY 0x50D83AA1u

#define RTC_WATCHDOG_CONFIG REGISTER(0x3FF4808Cu)
#define RTC_WATCHDOG_PROTECT REGISTER(0x3FF480A4u)
#define RTC_CLOCK REGISTER(0x3FF48070u) /* bits 27..28: CPU clock source, 0 = crystal */
#define TIMER0_WATCHDOG_CONFIG REGISTER(0x3FF5F048u)
#define TIMER0_WATCHDOG_PROTECT REGISTER(0x3FF5F064u)
#define TIMER1_WATCHDOG_CONFIG REGISTER(0x3FF60048u)
#define TIMER1_WATCHDOG_PROTECT REGISTER(0x3FF60064u)
#define SYSTEM_CLOCK REGISTER(0x3FF66000u) /* bits 0..9: divider of the crystal, less 1 */
#define CACHE_CONTROL REGISTER(0x3FF00040u) /* bit 3 on, bit 4 flush, bit 5 flush done */
#define CACHE_MASK REGISTER(0x3FF00044u)    /* bit 4: data window 0x3F400000 switched off */
#define MMU_PAGE(n) REGISTER(0x3FF10000u + 4u * (n))
#define MAPPED 0x3F400000u
#define PAGE 0x10000u

/* Values of linker symbols: first 64 KiB page of the constants in flash, and where they end when mapped. */
extern char sec_blob_page[], sec_blob_end[];

void sec_chip_init(void);

void sec_chip_init(void) {
    const uint32_t first = (uint32_t)(uintptr_t)sec_blob_page;
    const uint32_t pages = ((uint32_t)(uintptr_t)sec_blob_end - MAPPED + PAGE - 1u) / PAGE;

    RTC_WATCHDOG_PROTECT = WATCHDOG_KEY;
    RTC_WATCHDOG_CONFIG = 0;
    TIMER0_WATCHDOG_PROTECT = WATCHDOG_KEY;
    TIMER0_WATCHDOG_CONFIG = 0;
    TIMER1_WATCHDOG_PROTECT = WATCHDOG_KEY;
    TIMER1_WATCHDOG_CONFIG = 0;

    RTC_CLOCK &= ~(3u << 27);
    SYSTEM_CLOCK &= ~0x3FFu;

    CACHE_CONTROL &= ~(1u << 3);
    for (uint32_t page = 0; page < pages; page++) MMU_PAGE(page) = first + page;
    CACHE_MASK &= ~(1u << 4);
    CACHE_CONTROL &= ~(1u << 4);
    CACHE_CONTROL |= 1u << 4;
    while ((CACHE_CONTROL & (1u << 5)) == 0) {
    }
    CACHE_CONTROL &= ~(1u << 4);
    CACHE_CONTROL |= 1u << 3;
}
