"""The page in a browser: it opens without a complaint, sorts, filters, tells values, picks layers, changes its theme.

Needs the extra `browser` and a Chromium: Playwright's own, or the one that MIXANALYSIS_CHROMIUM names.
"""

from __future__ import annotations

import os

import pytest

from made_up import contents
from mixanalysis.report.html import write_html

sync_api = pytest.importorskip("playwright.sync_api", reason="the extra `browser` (Playwright) is not installed")

LABELS = ("mixer", "mlp", '<b>"bold"</b>')
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(
                executable_path=os.environ.get("MIXANALYSIS_CHROMIUM"), args=["--no-sandbox"]
            )
        except sync_api.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    made = contents(LABELS, 6, relations={("mixer", "mlp"): "other seed"})
    made.tables["cka"].loc[1, ["value", "low", "high"]] = float("nan")
    made.tables["cka"].loc[1, "status"] = "constant features"
    write_html(path, made.report())
    return path.as_uri()


@pytest.fixture
def opened(browser, address):
    """Opens the page with options of a browser context; complaints and requests of any page fail the test."""
    contexts, complaints = [], []

    def open_page(script="", **options):
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 800}} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if request.url != address else None)
        if script:
            page.add_init_script(script)
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def column(page, table, index):
    return page.locator(f"[data-table={table}] tbody tr:visible").evaluate_all(
        f"rows => rows.map(row => row.cells[{index}].textContent)"
    )


def tip(page):
    return page.locator("#tip.shown").inner_text()


def centre(page, locator):
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


class TestTables:
    def test_sort_by_mouse_and_keys(self, opened):
        page = opened()
        head = page.locator("[data-table=spectrum] thead th").nth(5)
        assert head.inner_text().startswith("s_max")
        assert head.get_attribute("aria-sort") is None
        values = list(map(float, column(page, "spectrum", 5)))
        assert values != sorted(values)
        head.locator("button").click()
        assert list(map(float, column(page, "spectrum", 5))) == sorted(values)
        assert head.get_attribute("aria-sort") == "ascending"
        head.locator("button").press("Enter")
        assert list(map(float, column(page, "spectrum", 5))) == sorted(values, reverse=True)
        assert head.get_attribute("aria-sort") == "descending"
        other = page.locator("[data-table=spectrum] thead th").first
        other.locator("button").click()
        assert column(page, "spectrum", 0) == sorted(column(page, "spectrum", 0), key=lambda name: name.strip("<"))
        assert page.locator("[data-table=spectrum] [aria-sort]").count() == 1

    def test_numbers_sort_by_value_and_undefined_ones_last(self, opened):
        page = opened()
        head = page.locator("[data-table=networks] thead button").last
        for _ in range(2):
            head.click()
            assert column(page, "networks", 8) == ["0.9", "–", "–"]
        layers = page.locator("[data-table=spectrum] thead button").nth(9)
        layers.click()
        assert column(page, "spectrum", 9)[:2] == ["1e-09", "1e-09"]

    def test_filter(self, opened):
        page = opened()
        part = page.locator("[data-table=spectrum]")
        assert part.locator("output").inner_text() == "18 rows"
        part.locator("input").fill("MLP 5.")
        assert part.locator("output").inner_text() == "3 of 18 rows"
        part.locator("input").fill("bold 5.")
        assert column(page, "spectrum", 0) == [LABELS[2]]
        assert page.locator("[data-table=networks] tbody tr:visible").count() == 3
        part.locator("input").fill("")
        assert len(column(page, "spectrum", 0)) == 18


class TestCharts:
    def test_every_picture_is_named_and_reached_by_keys(self, opened):
        page = opened()
        pictures = page.locator("svg:not([aria-hidden])")
        assert pictures.count() >= 10
        assert all(
            pictures.evaluate_all(
                "all => all.map(svg => svg.getAttribute('aria-label').length > 10 && svg.tabIndex == 0)"
            )
        )
        assert page.locator("canvas, img").count() == 0

    def test_a_heat_map_tells_the_cell_below_the_pointer(self, opened):
        page = opened()
        map_ = page.locator("[data-chart=maps] figure svg").first
        cells = page.evaluate("JSON.parse(document.getElementById('data').textContent).pairs[0]")
        texts = map_.locator("text.cell")
        assert texts.count() == 35
        # row 0 lies at the bottom, and its second cell is undefined
        last = texts.nth(texts.count() - 1)
        page.mouse.move(*centre(page, last))
        value, low, high = (cells[name][5][5] for name in ("value", "low", "high"))
        assert tip(page) == f"mixer 5.token – mlp 5.channel\nCKA {value:.3f} ({low:.3f} to {high:.3f})"
        page.mouse.move(5, 5)
        assert page.locator("#tip.shown").count() == 0

    def test_a_heat_map_by_keys(self, opened):
        page = opened()
        map_ = page.locator("[data-chart=maps] figure svg").first
        page.locator("[data-chart=profile] svg").first.focus()
        page.keyboard.press("Tab")
        page.wait_for_timeout(100)  # reaching it scrolled the page
        assert tip(page).startswith("mixer 0.token – mlp 0.channel\nCKA 0.")
        map_.press("ArrowRight")
        assert tip(page) == "mixer 0.token – mlp 1.channel\nCKA undefined: constant features"
        map_.press("ArrowUp")
        assert tip(page).startswith("mixer 1.token – mlp 1.channel")
        map_.press("End")
        assert tip(page).startswith("mixer 5.token – mlp 5.channel")
        map_.press("ArrowUp")
        assert tip(page).startswith("mixer 5.token – mlp 5.channel")
        map_.press("Escape")
        assert page.locator("#tip.shown").count() == 0

    @pytest.mark.parametrize(
        ("chart", "says"),
        [
            ("means", f"mlp – {LABELS[2]}\nmean CKA 0.600 (0.580 to 0.620)"),
            ("profile", "mixer 0.token – mlp 0.channel\nCKA 0."),
            ("edges", "mixer 0.fc1\nlargest 1."),
            ("width", "mixer\nm = 64, p = 0.5, Ω = 4096\nwidest Mixer m* = 161.27"),
            ("channels", "Ω = 4096: C = 1, S = "),
        ],
    )
    def test_charts_tell_their_points(self, chart, says, opened):
        page = opened()
        picture = page.locator(f"[data-chart={chart}] svg").first
        point = picture.locator(".mark").first
        page.mouse.move(*centre(page, point))
        assert tip(page).startswith(says)
        picture.press("Home")
        page.keyboard.press("ArrowRight")
        assert len(tip(page)) > 10

    def test_a_tap_tells_too(self, opened):
        page = opened(**PHONE)
        bar = page.locator("[data-chart=maps] figure svg text.cell").first
        page.touchscreen.tap(*centre(page, bar))
        assert tip(page).startswith("mixer 0.token – mlp 0.channel\nCKA 0.")
        box = page.locator("#tip").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


class TestPicker:
    def test_begins_with_the_furthest_layer(self, opened):
        page = opened()
        assert page.locator("#picked h4").all_inner_texts() == ["mixer blocks.4.mlp.fc1"]
        assert page.locator("#pick-layers .beyond").all_inner_texts() == ["1.fc1", "4.fc1"]

    def test_network_and_layers(self, opened):
        page = opened()
        page.select_option("#pick-network", LABELS[2])
        page.get_by_label("0.fc1").check()
        assert page.locator("#picked h4").all_inner_texts() == [f"{LABELS[2]} blocks.{i}.mlp.fc1" for i in (0, 4)]
        assert page.locator("#pick-count").inner_text() == f"2 of 6 layers of {LABELS[2]}"
        page.get_by_role("button", name="Beyond the edge").click()
        assert page.locator("#picked h4").all_inner_texts() == [f"{LABELS[2]} blocks.{i}.mlp.fc1" for i in (1, 4)]
        page.locator("#pick-filter").fill("2.fc")
        page.get_by_role("button", name="All").click()
        assert page.locator("#picked h4").all_inner_texts() == [f"{LABELS[2]} blocks.2.mlp.fc1"]
        page.get_by_role("button", name="None").click()
        assert page.locator("#picked > *").count() == 0
        assert page.locator("#pick-count").inner_text() == "No layer is chosen."

    def test_histogram_edges_and_numbers(self, opened):
        page = opened()
        layer = page.evaluate("JSON.parse(document.getElementById('data').textContent).layers.mixer[4]")
        card = page.locator("#picked .layer")
        picture = card.locator(".chart svg").first
        picture.focus()
        told = []
        for index in range(len(layer["counts"])):
            picture.press("ArrowRight" if index else "Home")
            told.append(int(tip(page).split("\n")[1].split(" ")[0]))
        assert told == layer["counts"]
        assert tip(page).split("\n")[1].startswith("1 of 40, density ")
        assert picture.locator(".edge").count() == 2
        assert picture.locator(".spike").count() == 1
        numbers = dict(zip(card.locator("dt").all_inner_texts(), card.locator("dd").all_inner_texts(), strict=True))
        assert (numbers["ratio"], numbers["null_edge"], numbers["p_value"]) == ("1.9", "2", "1e-09")

    def test_the_row_of_its_block_in_either_direction(self, opened):
        page = opened()
        pairs = page.evaluate("JSON.parse(document.getElementById('data').textContent).pairs")
        page.select_option("#pick-network", "mlp")
        strips = page.locator(".strip")
        assert strips.locator("> span").all_inner_texts() == ["mixer", LABELS[2]]
        for index, values in enumerate(([row[4] for row in pairs[0]["value"]], pairs[2]["value"][4])):
            shown = strips.nth(index).locator("text.cell").all_text_contents()
            assert list(map(float, shown)) == pytest.approx(values, abs=0.0051)
        strip = strips.first.locator("svg")
        strip.focus()
        strip.press("End")
        assert tip(page).startswith("mlp 4.channel – mixer 5.token\nCKA ")


class TestTheme:
    PAPER = "getComputedStyle(document.body).backgroundColor"

    @pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
    def test_the_system_decides_until_the_reader_does(self, scheme, dark, opened):
        page = opened(color_scheme=scheme)
        papers = ["rgb(255, 255, 255)", "rgb(21, 24, 28)"]
        button = page.locator("#theme")
        assert page.evaluate(self.PAPER) == papers[dark]
        assert button.get_attribute("aria-pressed") == str(dark).lower()
        button.click()
        assert page.evaluate(self.PAPER) == papers[not dark]
        assert button.get_attribute("aria-pressed") == str(not dark).lower()
        page.reload()
        assert page.evaluate(self.PAPER) == papers[not dark]

    def test_where_storage_is_blocked(self, opened):
        blocked = (
            "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })"
        )
        page = opened(script=blocked, color_scheme="light")
        page.locator("#theme").click()
        assert page.evaluate(self.PAPER) == "rgb(21, 24, 28)"
        assert page.locator("#picked h4").count() == 1


class TestPaper:
    @pytest.mark.parametrize("width", [320, 390, 768, 1280])
    def test_the_page_never_scrolls_sideways(self, width, opened):
        page = opened(viewport={"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.set_viewport_size({"width": 320, "height": 800})
        page.wait_for_function("document.querySelector('[data-chart=means] svg').getBoundingClientRect().width <= 320")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320

    def test_print_is_light_and_has_no_controls(self, opened):
        page = opened(color_scheme="dark")
        page.locator("#theme").click()
        page.locator("#theme").click()
        page.emulate_media(media="print")
        assert page.evaluate(TestTheme.PAPER) == "rgb(255, 255, 255)"
        assert page.locator(".controls:visible, nav:visible, summary:visible").count() == 0
        assert (
            page.locator("[data-table=spectrum] thead button").first.evaluate("e => getComputedStyle(e).display")
            == "contents"
        )

    def test_without_scripts_the_tables_are_there(self, opened):
        page = opened(java_script_enabled=False)
        assert page.locator("[data-table=spectrum] tbody tr").count() == 18
        assert page.get_by_text("Charts, sorting and filters need JavaScript").is_visible()
        assert page.locator(".controls:visible").count() == 0
