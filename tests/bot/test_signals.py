"""What a closing terminal does to a run that is not cycling: nothing."""

import subprocess
import sys

CODE = """
import asyncio, os, signal
from perpkit.bot.runner import Stopper, _hangup, signals

async def main():
    loop, reloaded = asyncio.get_running_loop(), []

    class Operations:
        async def reload(self, who):
            reloaded.append(who)

    def hang_up():
        os.kill(os.getpid(), signal.SIGHUP)

    with signals(Stopper()):
        hang_up()  # while starting
        await asyncio.sleep(0.05)
        with _hangup(Operations()):
            hang_up()
            await asyncio.sleep(0.05)
        hang_up()  # while stopping
        await asyncio.sleep(0.05)
    print("declared", reloaded)

asyncio.run(main())
"""


def test_e35_a_hangup_while_starting_or_stopping_ends_nothing() -> None:
    """Its default action kills at once: half an unwinding, no declared end."""
    ended = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, "declared ['SIGHUP']"), ended.stderr
