//! Tables in Docker's layout: columns at least ten wide, three blanks between them.

/// Lays out a head and its rows; every line ends with a line feed.
pub fn render(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().cloned()).collect();
    laid_out(&lines, 10, 3)
}

/// Lays out lines of cells in columns of this least width, with this gap between two.
pub fn laid_out(lines: &[Vec<String>], least: usize, gap: usize) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        (longest + gap).max(least)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < line.len() {
                let blanks = widths[column].saturating_sub(cell.chars().count());
                text.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        text.push('\n');
    }
    text
}

/// Lays out text whose cells end in tabs: a column goes over following lines that have it, as Go's tab writer has it.
pub fn align(text: &str) -> String {
    const LEAST: usize = 10;
    const GAP: usize = 3;
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    // The last cell of a line belongs to no column.
    let cell = |line: usize, column: usize| {
        let cells: Option<&Vec<&str>> = lines.get(line);
        cells
            .filter(|cells| column + 1 < cells.len())
            .map(|cells| cells[column])
    };
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len()]).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            let end = (start..)
                .find(|line| cell(*line, column).is_none())
                .unwrap_or(start);
            let longest = (start..end)
                .filter_map(|line| cell(line, column))
                .map(|cell| cell.chars().count() + GAP);
            let width = longest.max().unwrap_or(0).max(LEAST);
            for line in &mut widths[start..end] {
                line[column] = width;
            }
            start = end + 1;
        }
    }
    let mut aligned = String::with_capacity(text.len());
    for (cells, widths) in lines.iter().zip(&widths) {
        for (cell, width) in cells.iter().zip(widths) {
            aligned.push_str(cell);
            let gap = width.saturating_sub(cell.chars().count());
            aligned.extend(std::iter::repeat_n(' ', gap));
        }
        aligned.push('\n');
    }
    aligned
}

/// Shortens a text to so many characters, the last of them an ellipsis.
pub fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// The first twelve digits of an id, without the name of its hash.
pub fn short_id(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_dockers() {
        let rows = [vec!["a".to_owned(), "latest".to_owned(), "x".to_owned()]];
        assert_eq!(
            render(&["REPOSITORY", "TAG", "SIZE"], &rows),
            "REPOSITORY   TAG       SIZE\na            latest    x\n"
        );
    }

    #[test]
    fn cells_that_end_in_tabs_stand_in_columns() {
        assert_eq!(
            align("CONTAINER ID\tNAMES\ta\n98fa83154963\tp4b\t\n\nx\ty\n"),
            "CONTAINER ID   NAMES     a\n98fa83154963   p4b       \n\nx         y\n"
        );
        assert_eq!(align("one\ntwo\n"), "one\ntwo\n");
    }

    #[test]
    fn long_texts_end_in_an_ellipsis() {
        assert_eq!(shorten("python3 -c 'print(1, 2)'", 20), "python3 -c 'print(1…");
        assert_eq!(shorten("short", 20), "short");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}
