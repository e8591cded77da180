import io

from rich.console import Console

from baigong.cli.live import LiveView, figures, sparkline
from baigong.types import Progress


def test_a_falling_loss_falls_in_the_sparkline():
    drawn = sparkline([8, 6, 4, 2, 1])
    assert drawn[0] == "█" and drawn[-1] == "▁"
    assert list(drawn) == sorted(drawn, reverse=True)


def test_a_sparkline_of_many_points_keeps_its_width():
    assert len(sparkline([float(n) for n in range(1000)], width=24)) <= 25


def test_figures_say_how_far_how_fast_and_how_long():
    assert figures(Progress(50, 200, "tokens", 10)) == " 25 %  10 tokens/s  15 s left"


def test_figures_of_work_that_has_just_begun_promise_nothing():
    assert figures(Progress(0, 0)) == "  0 %"


def test_on_a_pipe_each_step_is_one_plain_line():
    out = io.StringIO()
    with LiveView(Console(file=out, force_terminal=False)) as view:
        view.started("plan")
        view.progressed("plan", Progress(1, 2))
        view.finished("plan", {"summary": "12 rows"}, again=False)
        view.started("tune")
        view.finished("tune", {"summary": "kept from before"}, again=True)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("plan") and lines[0].endswith("12 rows")
    assert "kept" in lines[1]


def test_on_a_terminal_the_running_step_has_a_bar_and_its_loss():
    out = io.StringIO()
    with LiveView(Console(file=out, force_terminal=True, width=120)) as view:
        view.started("tune")
        for loss in (3.0, 2.0, 1.5):
            view.progressed("tune", Progress(5, 10, "tokens", 2, {"loss": loss}))
        view._live.refresh()
    assert "loss 1.500" in out.getvalue()
    assert "50 %" in out.getvalue()
