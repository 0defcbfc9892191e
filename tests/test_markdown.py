from markdown_it import MarkdownIt

from findings import markdown


def test_characters_that_hide_or_reorder_text_are_shown_by_number():
    assert markdown.visible("a\u202eb\x00c\u2067\n\ud800") == "a[U+202E]b[U+0000]c[U+2067]\n[U+D800]"
    assert markdown.visible("naïve – “quoted” £5, ½ and 😀") == "naïve – “quoted” £5, ½ and 😀"


def test_a_cell_shows_its_text_whatever_is_in_it():
    cells = ["a | b", "<script>x</script>", "[x](http://example.com) *y*", "two\nlines"]
    html = MarkdownIt("default").render("\n".join(markdown.table(["x"] * 4, [cells])))
    assert "<script" not in html
    assert "<a " not in html
    assert "<td>a | b</td>" in html
    assert "<td>two lines</td>" in html
