// posthouse-directory: the directory as a process of its own.
#include "services/common/runtime/service_app.h"
#include "services/directory/app.h"

int main(int argc, char** argv) {
  return posthouse::runtime::ServiceMain<posthouse::directory::App>(argc, argv, "directory");
}
