"""Which milter command is legal when, as a table."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from appliance.milter.wire import Command


class State(IntEnum):
    """How far the MTA has come."""

    START = 0
    NEGOTIATED = 1
    BETWEEN_MESSAGES = 2
    SENDER = 3
    RECIPIENTS = 4
    DATA = 5
    HEADERS = 6
    BODY = 7
    REPLY_DUE = 8
    CLOSED = 9


def _negotiated(
    state: State, *moves: dict[int, State], aborts_to: State = State.BETWEEN_MESSAGES
) -> dict[int, State]:
    """The *moves* from *state*, and those that are legal wherever the options are negotiated."""
    table: dict[int, State] = {
        Command.MACROS: state,
        Command.ABORT: aborts_to,
        Command.NEGOTIATE: State.NEGOTIATED,
        Command.QUIT_NEW_CONNECTION: State.NEGOTIATED,
        Command.QUIT: State.CLOSED,
    }
    for move in moves:
        table.update(move)
    return table


def _smtp(state: State) -> dict[int, State]:
    """What a client may say in between; HELO within a message is reported before the abort that follows from it."""
    return {Command.HELO: state, Command.UNKNOWN: state}


_MAIL: dict[int, State] = {Command.MAIL: State.SENDER}
_RCPT: dict[int, State] = {Command.RCPT: State.RECIPIENTS}
_DATA: dict[int, State] = {Command.DATA: State.DATA}
_CONTENT: dict[int, State] = {Command.HEADER: State.HEADERS, Command.END_OF_HEADERS: State.BODY}
_BODY: dict[int, State] = {Command.BODY: State.BODY, Command.END_OF_MESSAGE: State.REPLY_DUE}

TRANSITIONS: Final[Mapping[State, Mapping[int, State]]] = {
    State.START: {Command.NEGOTIATE: State.NEGOTIATED, Command.QUIT: State.CLOSED},
    State.NEGOTIATED: _negotiated(
        State.NEGOTIATED, {Command.CONNECT: State.BETWEEN_MESSAGES}, aborts_to=State.NEGOTIATED
    ),
    State.BETWEEN_MESSAGES: _negotiated(State.BETWEEN_MESSAGES, _smtp(State.BETWEEN_MESSAGES), _MAIL),
    State.SENDER: _negotiated(State.SENDER, _smtp(State.SENDER), _RCPT),
    # Content straight after the recipients: DATA is reported since version 4.
    State.RECIPIENTS: _negotiated(State.RECIPIENTS, _smtp(State.RECIPIENTS), _RCPT, _DATA, _CONTENT),
    # Another filter may refuse DATA after we have seen it; then the client may go on with RCPT or DATA.
    State.DATA: _negotiated(State.DATA, _smtp(State.DATA), _RCPT, _DATA, _CONTENT),
    State.HEADERS: _negotiated(State.HEADERS, _CONTENT),
    State.BODY: _negotiated(State.BODY, _BODY),
    # Whatever else comes now means that the MTA has given up waiting, and a reply sent after that would be taken
    # for the reply to its next message.
    State.REPLY_DUE: {Command.QUIT: State.CLOSED},
    State.CLOSED: {},
}
"""State and command to the next state; what is not here is a protocol error."""
