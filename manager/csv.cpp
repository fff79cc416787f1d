#include "manager/csv.hpp"

#include <fmt/format.h>

namespace goldlink::manager {
namespace {

constexpr std::size_t kMaxRows = 100'000;
constexpr std::size_t kMaxFields = 64;

class Parser {
  public:
    explicit Parser(std::string_view text) : text_(text) {
        if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;  // spreadsheets put a byte order mark first
    }

    Result<std::vector<CsvRow>> run() {
        std::vector<CsvRow> rows;
        while (at_ < text_.size()) {
            GOLDLINK_TRY_ASSIGN(CsvRow row, next_row());
            if (row.fields.size() == 1 && row.fields[0].empty()) continue;
            if (rows.size() == kMaxRows)
                return failure(ErrorKind::invalid, fmt::format("more than {} rows", kMaxRows));
            rows.push_back(std::move(row));
        }
        return rows;
    }

  private:
    bool at_end_of_line() const {
        return at_ == text_.size() || text_[at_] == '\n' || text_[at_] == '\r';
    }

    Result<CsvRow> next_row() {
        CsvRow row;
        row.line = line_;
        while (true) {
            GOLDLINK_TRY_ASSIGN(std::string field, next_field());
            row.fields.push_back(std::move(field));
            if (row.fields.size() > kMaxFields)
                return failure(ErrorKind::invalid,
                               fmt::format("line {}: more than {} fields", row.line, kMaxFields));
            if (at_end_of_line()) break;
            ++at_;  // the comma
        }
        if (at_ < text_.size() && text_[at_] == '\r') ++at_;
        if (at_ < text_.size() && text_[at_] == '\n') ++at_;
        ++line_;
        return row;
    }

    Result<std::string> next_field() {
        std::string field;
        if (at_ < text_.size() && text_[at_] == '"') {
            GOLDLINK_TRY(quoted(field));
            if (!at_end_of_line() && text_[at_] != ',')
                return failure(ErrorKind::invalid,
                               fmt::format("line {}: text after a closing quote", line_));
            return field;
        }
        while (!at_end_of_line() && text_[at_] != ',') field += text_[at_++];
        return field;
    }

    Result<> quoted(std::string& field) {
        const int opened = line_;
        for (++at_; at_ < text_.size(); ++at_) {
            if (text_[at_] == '\n') ++line_;
            if (text_[at_] != '"') {
                field += text_[at_];
            } else if (at_ + 1 < text_.size() && text_[at_ + 1] == '"') {
                field += '"';
                ++at_;
            } else {
                ++at_;
                return {};
            }
        }
        return failure(ErrorKind::invalid, fmt::format("line {}: a quote is not closed", opened));
    }

    std::string_view text_;
    std::size_t at_ = 0;
    int line_ = 1;
};

}  // namespace

Result<std::vector<CsvRow>> parse_csv(std::string_view text) { return Parser(text).run(); }

}  // namespace goldlink::manager
