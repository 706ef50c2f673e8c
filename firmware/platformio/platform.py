"""PlatformIO's entry to our platform: no packages, the compilers are the system's."""

from platformio.public import PlatformBase


class SecateurPlatform(PlatformBase):
    """Not "embedded" in PlatformIO's sense: `pio test` runs the program instead of uploading it."""

    def is_embedded(self):
        return False
