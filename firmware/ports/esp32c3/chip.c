/* ESP32-C3: watchdogs off, CPU on the 40 MHz crystal.
   Registers: ESP32-C3 technical reference manual, chapters "Watchdog timers" and "Reset and clock". */
#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define WATCHDOG_KEY 0x50D83AA1u
#define SUPER_WATCHDOG_KEY 0x8F1D312Au

#define RTC_WATCHDOG_CONFIG REGISTER(0x60008090u)
#define RTC_WATCHDOG_PROTECT REGISTER(0x600080A8u)
#define SUPER_WATCHDOG_CONFIG REGISTER(0x600080ACu) /* bit 31: feeds itself */
#define SUPER_WATCHDOG_PROTECT REGISTER(0x600080B0u)
#define WATCHDOG_UPDATE (1u << 22) /* the timer groups' watchdogs take a new configuration over with this bit */
#define TIMER0_WATCHDOG_CONFIG REGISTER(0x6001F048u)
#define TIMER0_WATCHDOG_PROTECT REGISTER(0x6001F064u)
#define TIMER1_WATCHDOG_CONFIG REGISTER(0x60020048u)
#define TIMER1_WATCHDOG_PROTECT REGISTER(0x60020064u)
#define SYSTEM_CLOCK REGISTER(0x600C0058u) /* bits 10..11: source, 0 = crystal; bits 0..9: divider, less 1 */

void sec_chip_init(void);

void sec_chip_init(void) {
    RTC_WATCHDOG_PROTECT = WATCHDOG_KEY;
    RTC_WATCHDOG_CONFIG = 0;
    RTC_WATCHDOG_PROTECT = 0;
    SUPER_WATCHDOG_PROTECT = SUPER_WATCHDOG_KEY;
    SUPER_WATCHDOG_CONFIG |= 1u << 31;
    SUPER_WATCHDOG_PROTECT = 0;
    TIMER0_WATCHDOG_PROTECT = WATCHDOG_KEY;
    TIMER0_WATCHDOG_CONFIG = WATCHDOG_UPDATE;
    TIMER1_WATCHDOG_PROTECT = WATCHDOG_KEY;
    TIMER1_WATCHDOG_CONFIG = WATCHDOG_UPDATE;

    SYSTEM_CLOCK &= ~(3u << 10);
    SYSTEM_CLOCK &= ~0x3FFu;
}
