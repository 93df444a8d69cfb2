"""The charts of a report, by Bokeh. Each has a source with a column `row`, by which the page's scripts links them."""
