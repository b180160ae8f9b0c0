// Zoom that is linked: all variants of a job show the same place at the same size.

const STEP = 0.06;
// A picture that is shown nearly as large as it is still gets closer.
const LEAST = 2;

/** Zooms frames, each with one picture in it, together. */
export class LinkedZoom {
  #frames = [];
  #x = 0.5;
  #y = 0.5;
  #undo = [];

  get isOn() {
    return this.#frames.length > 0;
  }

  /**
   * Begin. `frames` are [{frame, source}]: an element that clips, and the address of the whole picture in it.
   */
  begin(frames) {
    this.end();
    this.#x = this.#y = 0.5;
    for (const { frame, source } of frames) {
      const image = frame.querySelector("img");
      const before = image.getAttribute("src");
      const move = (event) => this.#follow(event, frame);
      const large = new Image();
      large.onload = () => {
        if (!this.#frames.includes(frame)) return;
        image.src = source;
        this.#draw();
      };
      large.src = source;
      frame.addEventListener("pointermove", move);
      frame.classList.add("zoomed");
      this.#frames.push(frame);
      this.#undo.push(() => {
        large.onload = null;
        frame.removeEventListener("pointermove", move);
        frame.classList.remove("zoomed");
        image.style.transform = image.style.transformOrigin = "";
        if (image.getAttribute("src") === source && before !== null) image.src = before;
      });
    }
    this.#draw();
  }

  end() {
    this.#undo.forEach((undo) => undo());
    this.#frames = [];
    this.#undo = [];
  }

  /** Move what is seen by steps to the right and down. */
  move(right, down) {
    this.#x = clamp(this.#x + right * STEP);
    this.#y = clamp(this.#y + down * STEP);
    this.#draw();
  }

  #follow(event, frame) {
    const box = frame.getBoundingClientRect();
    this.#x = clamp((event.clientX - box.left) / box.width);
    this.#y = clamp((event.clientY - box.top) / box.height);
    this.#draw();
  }

  #draw() {
    for (const frame of this.#frames) {
      const image = frame.querySelector("img");
      // One pixel of the picture on one of the screen, where that is closer.
      const natural = image.naturalWidth / Math.max(1, image.clientWidth) / devicePixelRatio;
      const scale = Math.max(LEAST, natural);
      image.style.transformOrigin = `${this.#x * 100}% ${this.#y * 100}%`;
      image.style.transform = `scale(${scale})`;
    }
  }
}

const clamp = (value) => Math.min(1, Math.max(0, value));
