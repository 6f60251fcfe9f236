# Install rules beyond the programs, and the Debian package.
find_program(SCDOC scdoc)
if(SCDOC)
  file(GLOB pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tools/man/*.scd)
  foreach(page ${pages})
    get_filename_component(name ${page} NAME_WLE)
    string(REGEX MATCH "[0-9]$" section ${name})
    set(output ${PROJECT_BINARY_DIR}/man/${name})
    add_custom_command(OUTPUT ${output} COMMAND sh -c "'${SCDOC}' < '${page}' > '${output}'"
                       DEPENDS ${page} VERBATIM)
    list(APPEND outputs ${output})
    install(FILES ${output} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT tools)
  endforeach()
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/man)
  add_custom_target(man ALL DEPENDS ${outputs})
else()
  message(WARNING "scdoc not found: no manual pages")
  set(CPACK_PROJECT_CONFIG_FILE ${PROJECT_BINARY_DIR}/no_package.cmake)
  file(WRITE ${CPACK_PROJECT_CONFIG_FILE}
       "message(FATAL_ERROR \"no package without manual pages: install scdoc and configure again\")\n")
endif()

install(DIRECTORY tools/completions/bash/ COMPONENT tools
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(DIRECTORY tools/completions/zsh/ COMPONENT tools
        DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(DIRECTORY tools/completions/fish/ COMPONENT tools
        DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES lib/hooks/drover.rb lib/hooks/drover.py COMPONENT tools
        DESTINATION ${CMAKE_INSTALL_DATADIR}/drover)
install(FILES CHANGELOG.md LICENSE COMPONENT tools DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES LICENSE COMPONENT tools DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
install(DIRECTORY docs COMPONENT tools DESTINATION ${CMAKE_INSTALL_DOCDIR})

# What needs the source tree stays there: its examples, and the README's links to it.
install(DIRECTORY examples COMPONENT tools DESTINATION ${CMAKE_INSTALL_DOCDIR} USE_SOURCE_PERMISSIONS
        PATTERN "*.pyc" EXCLUDE PATTERN "__pycache__" EXCLUDE
        PATTERN "prefork" EXCLUDE PATTERN "quickstart.sh" EXCLUDE)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS README.md)
file(READ README.md readme)
string(REGEX REPLACE "\\[([^]]+)\\]\\((tools|examples/prefork|CONTRIBUTING)[^)]*\\)" "\\1" readme "${readme}")
file(WRITE ${PROJECT_BINARY_DIR}/README.md "${readme}")
install(FILES ${PROJECT_BINARY_DIR}/README.md COMPONENT tools DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "The drover authors")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL tools)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME drover)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
include(CPack)
