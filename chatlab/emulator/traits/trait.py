"""What a trait is: one way in which AWS differs from the emulator."""

from chatlab.emulator.api_call import ApiCall
from chatlab.emulator.responses import Response


class Trait:
    """A trait that changes nothing. A subclass overrides what it changes."""

    def before(self, call: ApiCall) -> Response | None:
        """A response instead of the emulator's; None lets the call through."""

    def after(self, call: ApiCall, response: Response) -> Response:
        """What becomes of the emulator's response."""
        return response

    def delay_s(self, call: ApiCall) -> float:
        """Seconds that the call takes longer."""
        return 0.0

    def admits_handshake(self) -> bool:
        """Whether a WebSocket may be opened."""
        return True
