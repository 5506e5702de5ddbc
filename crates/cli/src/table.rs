//! Tables in Docker's layout: columns at least ten wide, three blanks between them.

/// Lays out a head and its rows; every line ends with a line feed.
pub fn render(head: &[&str], rows: &[Vec<String>]) -> String {
    const LEAST: usize = 10;
    const GAP: usize = 3;
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        let longest = cells.chain([head[column].chars().count()]).max().unwrap_or(0);
        (longest + GAP).max(LEAST)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let gap = widths[column].saturating_sub(cell.chars().count());
                text.extend(std::iter::repeat_n(' ', gap));
            }
        }
        text.push('\n');
    }
    text
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
    fn long_texts_end_in_an_ellipsis() {
        assert_eq!(shorten("python3 -c 'print(1, 2)'", 20), "python3 -c 'print(1…");
        assert_eq!(shorten("short", 20), "short");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}
