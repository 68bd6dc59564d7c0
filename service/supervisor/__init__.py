"""Keep the processes of one machine running: start, watch, start again, replace, end in order."""

from service.supervisor.hangups import outlive_hangups
from service.supervisor.network import answers_ok, listen
from service.supervisor.parent import die_with
from service.supervisor.process import Child
from service.supervisor.supervisor import Supervisor

__all__ = ["Child", "Supervisor", "answers_ok", "die_with", "listen", "outlive_hangups"]
