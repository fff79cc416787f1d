// goldlink: the command line, and `goldlink up`.
#include "manager/cli/session.hpp"

int main(int argc, char** argv) { return goldlink::cli::run(argc, argv); }
