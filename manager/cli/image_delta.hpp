// goldlink image import and export of raw disks: a disk of this machine against a server, of which
// only the chunks travel that the other side lacks.
// Include only from .cpp files (session.hpp).
#pragma once

#include <string>

#include "manager/cli/session.hpp"

namespace goldlink::cli {

struct DeltaImport {
    std::string image, file;
    bool surely_raw = false;  // the admin says so, whatever its magic says
    std::string note, channel;
    std::string resume;       // the task of one that broke off, "" for none
    bool tells_delta = true;  // what was sent, and what not
};
Result<> import_by_delta(const Session& session, const DeltaImport& wanted);

struct DeltaExport {
    std::string ref;   // checked by the command line
    std::string file;  // or block device
    bool surely_raw = false;
    bool is_new = false;  // refused when it is there
};
Result<> export_by_delta(const Session& session, const DeltaExport& wanted);

}  // namespace goldlink::cli
