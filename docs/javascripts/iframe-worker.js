// Search in pages that are opened as files: browsers refuse workers there, so the worker's script runs in a hidden frame, with a
// worker's postMessage and message events. Pages that come from a server use real workers and never get here.
(function () {
  if (location.protocol !== "file:") return;

  class IFrameWorker extends EventTarget {
    constructor(address) {
      super();
      this.onmessage = null;
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.documentElement.append(frame);
      const inside = frame.contentWindow;
      // What the script says goes to the page; the page's messages are events inside.
      inside.postMessage = (data) => {
        const message = new MessageEvent("message", { data });
        this.dispatchEvent(message);
        if (this.onmessage) this.onmessage(message);
      };
      inside.importScripts = (...addresses) => Promise.all(addresses.map((one) => load(inside, one)));
      load(inside, address.toString()).then(() => {
        this.ready = (data) => inside.dispatchEvent(new inside.MessageEvent("message", { data }));
        this.waiting.splice(0).forEach(this.ready);
      });
      this.frame = frame;
    }

    postMessage(data) {
      if (this.ready) this.ready(data);
      else this.waiting.push(data);
    }

    terminate() {
      this.frame.remove();
    }
  }

  function load(inside, address) {
    return new Promise((resolve, reject) => {
      const script = inside.document.createElement("script");
      script.src = new URL(address, location.href).href;
      script.onload = resolve;
      script.onerror = reject;
      inside.document.body.append(script);
    });
  }

  window.IFrameWorker = IFrameWorker;
  window.Worker = IFrameWorker;
})();
