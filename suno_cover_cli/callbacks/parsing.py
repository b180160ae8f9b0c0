"""aiohttp's parser of requests, and the requests that it refuses though they can be read."""

import asyncio
import re

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage, BadHttpMethod, InvalidURLError
from aiohttp.streams import StreamReader

from suno_cover_cli.callbacks.bodies import WORD_CHAR
from suno_cover_cli.callbacks.exchanges import RawHeaders
from suno_cover_cli.callbacks.framing import Framing, fault_of, with_usual_head

# Node.js stops at 16 KiB of header lines as well; a real callback has about one.
MAX_HEAD_BYTES = 16 * 1024
# Callback addresses carry queries, of 8 KiB where each holds a token; so do header fields.
_MAX_LINE_BYTES = 12 * 1024
READ_BYTES = 16 * 1024
# Proxies add fields of their own; what all of them may take is bounded above.
MAX_FIELDS = 1000
_METHOD = re.compile(rf"({WORD_CHAR}{{1,64}})( |\Z)".encode())
_STAND_IN = b"POST "

_Read = tuple[RawRequestMessage, StreamReader]


class RequestReader(BaseProtocol):
    """The side of a connection that reads requests, each from a part of its own.

    Attributes:
        loop: Runs it.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        super().__init__(self.loop)
        self._framing = Framing(MAX_HEAD_BYTES)
        self._http = self._new_parser()
        self._method = ""
        # The parser does not know the method that has begun, and its end is not here yet.
        self._is_in_method = False
        # The parser has refused a field that stands there again, or the address, and the head goes on.
        self._is_in_repeats = False
        # The lines as sent, of a head that was written anew; None for any other.
        self._lines: RawHeaders | None = None

    def _new_parser(self) -> HttpRequestParser:
        return HttpRequestParser(
            self,
            self.loop,
            READ_BYTES,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=MAX_FIELDS,
            # A compressed body stays as it came: unpacking is how a kilobyte becomes a gigabyte.
            auto_decompress=False,
        )

    def _parse(self, piece: bytes) -> list[_Read]:
        """Return the request that begins in a piece, if one does.

        Raises:
            HttpProcessingError: It is refused.
        """
        if self._is_in_method:
            return self._parse_unusual(piece)
        if self._is_in_repeats:
            return self._parse_repeats(piece)
        try:
            messages, is_upgraded, _ = self._http.feed_data(piece)
        except BadHttpMethod:
            return self._parse_unusual(piece)
        except BadHttpMessage as error:
            came = self._framing.refused()
            # What else can be wrong with it is refused at once, whether or not the rest of the head comes.
            is_foreign = isinstance(error, InvalidURLError) and not came.partition(b"\n")[0].isascii()
            if (
                not (is_foreign or type(error) is BadHttpMessage)
                or self._lines is not None
                or not came
                or fault_of(came, MAX_FIELDS)
            ):
                raise
            return self._parse_repeats(piece)
        if is_upgraded:
            # No other protocol is spoken here, and none was agreed on.
            self._http.set_upgraded(False)
        return messages

    def _parse_unusual(self, piece: bytes) -> list[_Read]:
        """Parse a request as a POST: the parser knows some forty methods, but any word is one (RFC 9110, 9.1).

        Raises:
            HttpProcessingError: It does not begin with a word.
        """
        begun = _METHOD.match(self._framing.refused())
        if begun is None or self._method:
            raise BadHttpMethod("not a word")
        self._is_in_method = not begun[2]
        if self._is_in_method:
            return []
        # The parser that refused it reads no more.
        self._http, self._method = self._new_parser(), begun[1].decode("ascii")
        return self._parse(_STAND_IN + piece[piece.index(b" ") + 1 :])

    def _parse_repeats(self, piece: bytes) -> list[_Read]:
        """Parse a request once more, written as the parser takes it: proxies double fields, curl encodes nothing.

        Raises:
            HttpProcessingError: That is not what it was refused for.
        """
        self._is_in_repeats = self._framing.head_bytes > 0
        if self._is_in_repeats:
            return []
        lean = with_usual_head(self._framing.refused(), MAX_FIELDS)
        if lean is None:
            raise BadHttpMessage("refused")
        self._http, (head, self._lines) = self._new_parser(), lean
        if self._method:
            head = _STAND_IN + head[head.index(b" ") + 1 :]
        return self._parse(head + piece[len(piece) - self._framing.body_bytes :])
