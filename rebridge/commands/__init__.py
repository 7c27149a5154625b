"""Commands as functions: a frozen dataclass of options in, a result out.

Progress goes to a callback; nothing is printed. The command line and any other surface (a web page, a notebook) call the same
functions, one module a command:

    from rebridge.commands.options import RestoreOptions
    from rebridge.commands.restore import restore

    done = restore(RestoreOptions(inputs=["photos"], output=Path("restored")), progress=print)

`options` imports nothing heavy, so that a surface can show what there is to choose before torch is loaded.
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages, if torch learns so before it allocates
