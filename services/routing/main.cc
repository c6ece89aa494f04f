// posthouse-routing: routing as a process of its own.
#include "services/common/runtime/service_app.h"
#include "services/routing/app.h"

int main(int argc, char** argv) {
  return posthouse::runtime::ServiceMain<posthouse::routing::App>(argc, argv, "routing");
}
